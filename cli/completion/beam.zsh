#compdef beam
# Completion of beam for zsh. Written by `beam completion zsh`, as the file _beam in a folder of $fpath; or, after
# compinit: source <(beam completion zsh)

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

_beam() {
    local verb=$words[2] line name
    local -a found parts
    [[ $verb == bench && $CURRENT -gt 3 ]] && verb="bench $words[3]"
    if ((CURRENT == 2)) || [[ $verb == help ]]; then
        for line in ${(f)"$(_beam_verbs)"}; do
            found+=("${line%% *}:${line#* }")
        done
        _describe verb found
        return
    elif [[ $verb == bench ]]; then
        compadd $(_beam_options | cut -f 1 | sed -n 's/^bench //p' | sort -u)
        return
    elif [[ $verb == completion ]]; then
        compadd bash zsh
        return
    elif [[ $words[CURRENT] == *=* ]]; then
        name=${words[CURRENT]%%=*}
        compset -P '*='
        for line in ${(f)"$(_beam_keys)"}; do
            parts=(${(s: :)line})
            if [[ $parts[1] == $name && $#parts -gt 1 ]]; then
                compadd -- $parts[2,-1]
                return
            fi
        done
        _files
        return
    fi
    for line in ${(f)"$(_beam_options)"}; do
        parts=("${(@s:	:)line}")
        [[ $parts[1] == $verb ]] || continue
        if [[ $parts[2] == $words[CURRENT-1] && $parts[3] == *'|'* ]]; then
            compadd -- ${(s:|:)parts[3]}
            return
        elif [[ $parts[2] == $words[CURRENT-1] && $parts[3] != - ]]; then
            _files
            return
        fi
        found+=("$parts[2]:$parts[4]")
    done
    if [[ $words[CURRENT] == -* ]]; then
        _describe option found
        return
    fi
    if [[ $CURRENT -gt 3 && $verb == (train|validate|estimate|preprocess) ]]; then
        for line in ${(f)"$(_beam_keys)"}; do
            compadd -S = -- ${line%% *}
        done
    fi
    _files
}
if [[ $funcstack[1] == _beam ]]; then # found in $fpath
    _beam "$@"
else
    compdef _beam beam
fi
