# bash completion for lodge
# shellcheck shell=bash

_lodge_run() {
    local current=$1 previous=$2
    case $previous in
    --kernel | --initrd | -d | --disk | --vsock)
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
        compopt -o filenames
        return
        ;;
    --cpu)
        mapfile -t COMPREPLY < <(compgen -W 'host x86-64-v2 x86-64-v3' -- "$current")
        return
        ;;
    -n | --net)
        mapfile -t COMPREPLY < <(compgen -W 'user user,forward=tcp: tap= none' -- "$current")
        compopt -o nospace
        return
        ;;
    --console)
        mapfile -t COMPREPLY < <(compgen -W 'serial virtio' -- "$current")
        return
        ;;
    --engine)
        mapfile -t COMPREPLY < <(compgen -W 'auto kvm dbt' -- "$current")
        return
        ;;
    -m | --memory)
        mapfile -t COMPREPLY < <(compgen -W '128M 256M 512M 1G 2G 4G' -- "$current")
        return
        ;;
    -c | --cpus | --append | --name)
        return
        ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W '--kernel --initrd --append -d --disk -n --net --console --vsock -m --memory -c --cpus --cpu --engine --name
        --debug-exit --no-reboot --stats --help' -- "$current")
}

_lodge() {
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
    COMPREPLY=()
    if ((COMP_CWORD == 1)); then
        mapfile -t COMPREPLY < <(compgen -W 'run --help --version' -- "$current")
    elif [[ ${COMP_WORDS[1]} == run ]]; then
        _lodge_run "$current" "$previous"
    fi
}

complete -F _lodge lodge
