# bash completion for lodge
# shellcheck shell=bash

_lodge_run() {
    local current=$1 previous=$2
    case $previous in
    --kernel | --initrd | --trace-file | -d | --disk | --vsock)
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
        compopt -o filenames
        return
        ;;
    --firmware)
        mapfile -t COMPREPLY < <(
            compgen -W 'seabios ovmf' -- "$current"
            compgen -f -- "$current"
        )
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
    --sandbox)
        mapfile -t COMPREPLY < <(compgen -W 'on off strict' -- "$current")
        return
        ;;
    --user)
        mapfile -t COMPREPLY < <(compgen -u -W keep -- "$current")
        return
        ;;
    -m | --memory | --balloon)
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
    mapfile -t COMPREPLY < <(compgen -W '--kernel --initrd --append --firmware -d --disk -n --net --console --vsock -m --memory --balloon -c --cpus --cpu
        --engine --name --gdb --sandbox --user --debug-exit --no-reboot --stats --trace --trace-file --help' -- "$current")
}

_lodge_image() {
    local current=$1 previous=$2 options
    if ((COMP_CWORD == 2)); then
        mapfile -t COMPREPLY < <(compgen -W 'build create info check resize convert --help' -- "$current")
        return
    fi
    case $previous in
    -f | --image-format | -O | --output-format | -F | --backing-format)
        mapfile -t COMPREPLY < <(compgen -W 'raw qcow2' -- "$current")
        return
        ;;
    --format)
        mapfile -t COMPREPLY < <(compgen -W 'text json' -- "$current")
        return
        ;;
    --backing-rule)
        mapfile -t COMPREPLY < <(compgen -W 'beside allow deny' -- "$current")
        return
        ;;
    --compression)
        mapfile -t COMPREPLY < <(compgen -W 'zlib zstd' -- "$current")
        return
        ;;
    -s | --size)
        mapfile -t COMPREPLY < <(compgen -W '2G 4G 8G 20G' -- "$current")
        return
        ;;
    -p | --packages | --hostname | --mirror)
        return
        ;;
    --cluster-size)
        mapfile -t COMPREPLY < <(compgen -W '4K 64K 2M' -- "$current")
        return
        ;;
    esac
    case ${COMP_WORDS[2]} in
    build)
        options='-o --output -s --size -f -p --packages --hostname --ssh-key --password --mirror --kernel-dir'
        if [[ $current != -* && $previous != -* ]]; then
            mapfile -t COMPREPLY < <(compgen -W 'debian' -- "$current")
            return
        fi
        ;;
    create) options='-f -b -F --backing-rule --cluster-size --compression' ;;
    info) options='-f --format' ;;
    check) options='--repair --format' ;;
    resize) options='-f --shrink --backing-rule' ;;
    convert) options='-c -f -O --backing-rule --cluster-size --compression' ;;
    *) return ;;
    esac
    if [[ $current == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$options --help" -- "$current")
    else
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
        compopt -o filenames
    fi
}

_lodge() {
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
    COMPREPLY=()
    if ((COMP_CWORD == 1)); then
        mapfile -t COMPREPLY < <(compgen -W 'run image --help --version' -- "$current")
    elif [[ ${COMP_WORDS[1]} == run ]]; then
        _lodge_run "$current" "$previous"
    elif [[ ${COMP_WORDS[1]} == image ]]; then
        _lodge_image "$current" "$previous"
    fi
}

complete -F _lodge lodge
