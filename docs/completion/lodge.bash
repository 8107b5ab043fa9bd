# bash completion for lodge
# shellcheck shell=bash

_lodge_run() {
    local current=$1 previous=$2
    case $previous in
    --kernel | --initrd | --trace-file)
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
        compopt -o filenames
        return
        ;;
    --cpu)
        mapfile -t COMPREPLY < <(compgen -W 'host x86-64-v2 x86-64-v3' -- "$current")
        return
        ;;
    --engine)
        mapfile -t COMPREPLY < <(compgen -W 'auto kvm dbt' -- "$current")
        return
        ;;
    --sandbox)
        mapfile -t COMPREPLY < <(compgen -W 'on off strict' -- "$current")
        return
        ;;
    --user)
        mapfile -t COMPREPLY < <(compgen -u -W keep -- "$current")
        return
        ;;
    -m | --memory)
        mapfile -t COMPREPLY < <(compgen -W '128M 256M 512M 1G 2G 4G' -- "$current")
        return
        ;;
    --trace)
        # The last word of a list; what stands before it is kept.
        local done=
        [[ $current == *,* ]] && done=${current%,*},
        mapfile -t COMPREPLY < <(compgen -P "$done" -W 'exits irq exceptions mmio pio msr cr power all' -- "${current##*,}")
        return
        ;;
    --gdb)
        mapfile -t COMPREPLY < <(compgen -W '127.0.0.1: unix:' -- "$current")
        compopt -o nospace
        return
        ;;
    -c | --cpus | --append | --name)
        return
        ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W '--kernel --initrd --append -m --memory -c --cpus --cpu --engine --name
        --gdb --sandbox --user --debug-exit --no-reboot --stats --trace --trace-file --help' -- "$current")
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
