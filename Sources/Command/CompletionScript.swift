// SPDX-License-Identifier: Apache-2.0

import ArgumentParser

/// The completion scripts of ArgumentParser, corrected.
///
/// ArgumentParser offers a subcommand `help` that these tools do not have (and whose arguments make
/// zsh refuse those of vma-pack), completes no file after `NAME=`, and no value after `--option=`.
enum CompletionScript {
  /// A completion function answers this in place of values: the shell completes a file name, after
  /// `NAME=` if the word begins so.
  static let files = ":files"

  /// - Returns: nil if ArgumentParser generates something that the corrections do not fit.
  static func generate(for shell: CompletionShell, _ command: any ParsableCommand.Type) -> String? {
    let name = command.configuration.commandName ?? ""
    var script = Script(
      lines: command.completionScript(for: shell).split(
        separator: "\n", omittingEmptySubsequences: false
      ).map(String.init))
    switch shell {
    case .bash: correctBash(&script, name)
    case .zsh: correctZsh(&script, name)
    case .fish: correctFish(&script, name)
    default: return nil
    }
    // The position of the cursor in the word does not matter: the corrected functions end the word
    // there.
    if shell != .fish {
      script.replace(from: "__\(name)_cursor_index_in_current_word() {", to: "}")
    }
    let cursor =
      shell == .fish
      ? "(__\(name)_tokens -tC)" : "\"$(__\(name)_cursor_index_in_current_word)\""
    script.lines = script.lines.map { $0.replacing(cursor, with: "0") }
    return script.fits ? script.lines.joined(separator: "\n") : nil
  }

  private struct Script {
    var lines: [String]
    var fits = true

    /// Replaces the first run of lines that begins and ends with these.
    mutating func replace(from first: String, to last: String, with text: String = "") {
      guard let start = lines.firstIndex(of: first),
        let end = lines[start...].firstIndex(of: last)
      else {
        fits = false
        return
      }
      lines.replaceSubrange(
        start...end,
        with: text.isEmpty
          ? [] : text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init))
    }

    mutating func remove(where isRemoved: (String) -> Bool) {
      let count = lines.count
      lines.removeAll(where: isRemoved)
      if lines.count == count { fits = false }
    }
  }

  // MARK: - bash

  private static func correctBash(_ script: inout Script, _ name: String) {
    script.replace(
      from: "    # Offer subcommand / subcommand argument completions", to: "    esac")
    script.replace(from: "_\(name)_help() {", to: "}")
    script.replace(
      from: "__\(name)_custom_complete() {", to: "}",
      with: """
        __\(name)_custom_complete() {
            local -a completions
            mapfile -t completions < <("${COMP_WORDS[0]}" "${@}" "${COMP_WORDS[@]}" 2>/dev/null)
            local completion name=""
            if [[ "${completions[0]}" = \(files) ]]; then
                [[ "${cur}" =~ ^[A-Za-z0-9_.-]+= ]] && name="${BASH_REMATCH[0]}"
                mapfile -t completions < <(compgen -f -- "${cur#"${name}"}")
                for completion in "${completions[@]}"; do
                    COMPREPLY+=("${name}${completion}")
                done
            else
                for completion in "${completions[@]}"; do
                    [[ "${completion}" = "${cur}"* ]] && COMPREPLY+=("${completion}")
                done
            fi
        }
        """)
    // The function above sets COMPREPLY itself: compgen -W would expand what names contain.
    let call = "__\(name)_add_completions -W \"$(__\(name)_custom_complete "
    script.lines = script.lines.map { line in
      guard let start = line.firstRange(of: call) else { return line }
      return line[..<start.lowerBound] + "__\(name)_custom_complete "
        + line[start.upperBound...].dropLast(2)
    }
    script.replace(
      from: "complete -o filenames -F _\(name) \(name)",
      to: "complete -o filenames -F _\(name) \(name)",
      with: """
        # Bash separates words at characters such as = and :, which are parts of values.
        __\(name)_joined_words() {
            local line="${COMP_LINE}" cur="" word prefix=""
            local -a words=()
            local -i index current=0 after
            for index in "${!COMP_WORDS[@]}"; do
                word="${COMP_WORDS[index]}"
                if [[ "${index}" -gt 0 && -n "${line}" && "${line}" != [[:space:]]* ]]; then
                    words[-1]+="${word}"
                else
                    words+=("${word}")
                    line="${line#"${line%%[![:space:]]*}"}"
                fi
                line="${line#"${word}"}"
                if [[ "${index}" -eq "${COMP_CWORD}" ]]; then
                    current="$((${#words[@]} - 1))"
                    after="$((${#COMP_LINE} - COMP_POINT - ${#line}))"
                    cur="${words[-1]}"
                    if [[ "${after}" -gt "${#cur}" ]]; then
                        words=("${words[@]::current}" "" "${words[-1]}")
                        cur=""
                    elif [[ "${after}" -gt 0 ]]; then
                        cur="${cur::${#cur} - after}"
                    fi
                fi
            done
            words[current]="${cur}"

            local -r breaks="${COMP_WORDBREAKS//[!=:]/}"
            [[ -n "${breaks}" ]] && prefix="${cur%"${cur##*[${breaks}]}"}"
            local previous="${words[current - 1]}"
            if [[ "${cur}" = --*=* ]]; then
                previous="${cur%%=*}"
                cur="${cur#*=}"
                prefix="${prefix#"${previous}="}"
            fi
            local -a COMP_WORDS=("${words[@]}")
            local COMP_CWORD="${current}"
            _\(name) "${1}" "${cur}" "${previous}"
            COMPREPLY=("${COMPREPLY[@]#"${prefix}"}")
            [[ "${COMPREPLY[0]}" = *= ]] && compopt +o filenames -o nospace
        }

        complete -o filenames -F __\(name)_joined_words \(name)
        """)
  }

  // MARK: - zsh

  private static func correctZsh(_ script: inout Script, _ name: String) {
    script.remove { $0.contains(" :->command'") || $0.contains(" :->arg'") }
    script.replace(from: "    case \"${state}\" in", to: "    esac")
    script.replace(from: "_\(name)_help() {", to: "}")
    script.replace(
      from: "__\(name)_custom_complete() {", to: "}",
      with: """
        __\(name)_custom_complete() {
            local -a completions line=("${command_line[@]}")
            line[current_word_index+1]="${PREFIX}"
            completions=("${(@f)"$("${command_name}" "${@}" "${line[@]}" 2>/dev/null)"}")
            if [[ "${completions[1]}" = \(files) ]]; then
                compset -P 1 '[A-Za-z0-9_.-]##='
                _files
            elif [[ "${#completions[@]}" -gt 1 ]]; then
                completions=("${completions[@]:0:-1}")
                local -a names=("${(M)completions[@]:#*=}")
                [[ "${#names[@]}" -gt 0 ]] && compadd -S '' -- "${names[@]}"
                __\(name)_complete "${completions[@]:#*=}"
            fi
        }
        """)
    // `-c` and `--config` take their values in the same word, too.
    script.lines = script.lines.map { line in
      guard line.hasPrefix("        '"), line.contains("]:"),
        let end = line.firstIndex(of: "["), line[..<end].contains("--")
      else { return line }
      var names = String(line[..<end])
      if names.hasSuffix("}'") {
        names = names.dropLast(2) + "=}'"
        if let comma = names.firstIndex(of: ",") { names.insert("+", at: comma) }
      } else {
        names += "="
      }
      return names + line[end...]
    }
  }

  // MARK: - fish

  private static func correctFish(_ script: inout Script, _ name: String) {
    script.replace(from: "        switch $unparsed_tokens[1]", to: "        end")
    script.remove { $0.contains("\"\(name) help\"") || $0.contains("-fa 'help'") }
    script.replace(
      from: "function __\(name)_custom_completion", to: "end",
      with: """
        function __\(name)_custom_completion
            set -x SAP_SHELL fish
            set -x SAP_SHELL_VERSION $FISH_VERSION
            set -l tokens (__\(name)_tokens -p)
            set -l index (count (__\(name)_tokens -pc))
            set -l token "$(commandline -ct)"
            if test -z "$token"
                set tokens $tokens[..$index] '' $tokens[(math $index + 1)..]
            else
                set tokens[(math $index + 1)] $token
            end
            set -l completions (command $tokens[1] $argv $tokens 2>/dev/null)
            if test "$completions[1]" = \(files)
                set token (string replace -r '^(--[a-z-]+=|-[A-Za-z])' '' -- $token)
                set -l name (string match -r '^[A-Za-z0-9_.-]+=' -- $token)
                for path in (__fish_complete_path (string sub -s (math (string length "$name") + 1) -- $token))
                    printf '%s\\n' "$name$path"
                end
            else
                string join -- \\n $completions
            end
        end
        """)
  }
}
