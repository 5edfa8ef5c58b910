# shellcheck shell=bash
# Completion of beam for bash. Written by `beam completion bash`; to use it: source <(beam completion bash)

# Lines: verb, what it is.
_beam_verbs() {
    cat <<'END'
@VERBS@
END
}

# Lines, separated by tabs: verb, --option, what its value is called or -, help.
_beam_options() {
    cat <<'END'
@OPTIONS@
END
}

# Lines: a key of the configuration, and the values that it takes if these are words.
_beam_keys() {
    cat <<'END'
@KEYS@
END
}

# What may stand behind an option or a key=; without words bash offers files.
_beam_values() {
    local verb=$1 name=$2 found option value rest
    if [[ $name == --* ]]; then
        while IFS=$'\t' read -r found option value rest; do
            if [[ $found == "$verb" && $option == "$name" && $value == *"|"* ]]; then
                printf '%s' "${value//|/ }"
            fi
        done < <(_beam_options)
    fi
    name=${name#--}
    while read -r found value; do
        if [[ $found == "${name//-/_}" ]]; then
            printf '%s' "$value"
        fi
    done < <(_beam_keys)
}

_beam() {
    local words="" current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} verb=${COMP_WORDS[1]}
    [[ $verb == bench && $COMP_CWORD -gt 2 ]] && verb="bench ${COMP_WORDS[2]}"
    COMPREPLY=()
    if ((COMP_CWORD == 1)); then
        words=$(_beam_verbs | cut -d ' ' -f 1)
    elif [[ $verb == bench ]]; then
        words=$(_beam_options | cut -f 1 | sed -n 's/^bench //p' | sort -u)
    elif [[ $verb == help ]]; then
        words=$(_beam_verbs | cut -d ' ' -f 1)
    elif [[ $verb == completion ]]; then
        words="bash zsh"
    elif [[ $current == -* ]]; then
        words=$(_beam_options | awk -F '\t' -v verb="$verb" '$1 == verb {print $2}')
    elif [[ $current == = ]]; then # bash takes key=value apart
        words=$(_beam_values "$verb" "$previous")
        current=""
    elif [[ $previous == = ]]; then
        words=$(_beam_values "$verb" "${COMP_WORDS[COMP_CWORD - 2]}")
    elif [[ $previous == --* ]]; then
        words=$(_beam_values "$verb" "$previous")
    elif [[ $COMP_CWORD -gt 2 && $verb =~ ^(train|validate|estimate|preprocess)$ ]]; then
        compopt -o nospace 2>/dev/null
        words=$(_beam_keys | sed 's/ .*//; s/$/=/')
    fi
    # shellcheck disable=SC2207 # words have no spaces
    COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -o default -F _beam beam
