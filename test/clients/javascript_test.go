package clients

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/stretchr/testify/require"
)

// pack tells the version of an installed npm package.
func pack(name string) func() string {
	return func() string {
		var p struct{ Version string }
		text, err := os.ReadFile(filepath.Join("js", "node_modules", name, "package.json"))
		if err != nil || json.Unmarshal(text, &p) != nil {
			return "?" // it is absent, as the trial will say
		}
		return p.Version
	}
}

// javaScript runs a file of js in Node.js, and does what it asks for.
func javaScript(file string) func(*trial) {
	return func(t *trial) {
		node := t.look("node")
		if _, err := os.Stat("js/node_modules"); err != nil {
			t.absent("js/node_modules is not there: run npm ci in js")
		}
		cmd := exec.CommandContext(t.ctx, node, append([]string{file}, t.Addresses()...)...)
		cmd.Dir = "js"
		var stderr strings.Builder
		cmd.Stderr = &stderr
		in, err := cmd.StdinPipe()
		require.NoError(t, err)
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		defer func() { _ = cmd.Process.Kill() }() // fails where it has ended
		for lines := bufio.NewScanner(out); lines.Scan(); {
			kind, text, _ := strings.Cut(lines.Text(), " ")
			switch kind {
			case "-":
				t.did(text)
			case "?":
				_, err := fmt.Fprintln(in, answer(t, text))
				require.NoError(t, err)
			default:
				t.Log(lines.Text())
			}
		}
		require.NoError(t, cmd.Wait(), "%s", &stderr)
	}
}

// answer does what a script asks for.
func answer(t *trial, question string) string {
	words := strings.Fields(question)
	switch words[0] {
	case "kill":
		t.killOwner(words[1])
	case "restore":
		require.NoError(t, t.Restore(t.ctx))
	case "owner":
		owner, err := t.Owner(t.ctx, words[1])
		require.NoError(t, err)
		return strconv.Itoa(owner)
	case "owned":
		node, err := strconv.Atoi(words[2])
		require.NoError(t, err)
		return t.owned(words[1], node)
	default:
		t.Fatalf("the script asks for %q", question)
	}
	return "done"
}
