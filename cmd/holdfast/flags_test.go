package main

import (
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/stretchr/testify/require"
)

func TestWrongCommandLines(t *testing.T) {
	for _, c := range []struct {
		line string
		says []string
	}{
		{`nod`, []string{`unknown command "nod"`, `did you mean "node"`}},
		{`-colour`, []string{`unknown flag -colour`}},
		{`node -colour blue`, []string{`unknown flag -colour`}},
		{`node -nmae a`, []string{`unknown flag -nmae`, `did you mean "-name"`}},
		{`node -joi a`, []string{`did you mean "-join"`}},
		{`node -cop 2`, []string{`did you mean "-copies"`}},
		{`node -resp-max-client 2`, []string{`did you mean one of "-resp-max-clients", `}},
		{`router -httpx a`, []string{`-httpx, did you mean "-http"?`}},
		{`bench -duration 0s`, []string{`-duration "0s"`, `a duration over 0`}},
		{`node extra`, []string{`unexpected argument extra`}},
		{`node -name`, []string{`-name needs a value`}},
		{`node -name -copies 3`, []string{`-name needs a value`}},
		{`node -copies 0`, []string{`-copies "0"`, `from 1 to 16`}},
		{`node -copies=17`, []string{`-copies "17"`, `from 1 to 16`}},
		{`node -copies 99999999999999999999`, []string{`-copies "99999999999999999999"`}},
		{`node -copies two`, []string{`-copies "two"`, `whole number`}},
		{`node -virtual-nodes 1001`, []string{`-virtual-nodes "1001"`, `from 1 to 1000`}},
		{`node -weight 0`, []string{`-weight "0"`, `from 0.1 to 10`}},
		{`node -weight NaN`, []string{`-weight "NaN"`, `from 0.1 to 10`}},
		{`node -load 1`, []string{`-load "1"`, `over 1`}},
		{`node -load NaN`, []string{`-load "NaN"`, `over 1`}},
		{`node -ack maybe`, []string{`-ack "maybe"`, `async, replica, all`}},
		{`node -partition-mode hope`, []string{`-partition-mode "hope"`, `available, majority`}},
		{`node -http nowhere`, []string{`-http "nowhere"`, `host:port`}},
		{`node -http 127.0.0.1:http`, []string{`-http "127.0.0.1:http"`, `host:port`}},
		{`node -http 127.0.0.1:70000`, []string{`-http "127.0.0.1:70000"`, `0 to 65535`}},
		{`node -http http://x:80`, []string{`-http "http://x:80"`, `host:port`}},
		{`node -join a:1,b`, []string{`-join "a:1,b"`, `host:port,host:port`}},
		{`node -ttl 5`, []string{`-ttl "5"`, `30m`}},
		{`node -ttl=-5m`, []string{`-ttl "-5m"`, `30m`}},
		{`node -drain-timeout soon`, []string{`-drain-timeout "soon"`, `90s`}},
		{`node -max-session 1mb`, []string{`-max-session "1mb"`, `1MiB`}},
		{`node -memory 0`, []string{`-memory "0"`, `4GiB, or none`}},
		{`node -trust office`, []string{`-trust "office"`, `10.0.0.0/8`}},
		{`node -log-level loud`, []string{`-log-level "loud"`, `debug, info, warn, error`}},
		{`node -log-format xml`, []string{`-log-format "xml"`, `text, json`}},
		{`node -demo=maybe`, []string{`-demo`, `true`}},
		{`node -gossip-key-file /does/not/exist`, []string{`-gossip-key-file`, `/does/not/exist`}},
		{`node -secret-file /does/not/exist`, []string{`-secret-file`, `/does/not/exist`}},
		{`node -upstream http://u:word@x`, []string{`-upstream`, `"http://u:xxxxx@x"`, `redis://[user:password@]host[:port][/db]`}},
		{`node -upstream redis://x -upstream-password-file /does/not/exist`, []string{`-upstream-password-file`, `/does/not/exist`}},
		{`node -upstream redis://x -upstream-tls-ca /does/not/exist`, []string{`-upstream-tls-ca`, `/does/not/exist`}},
		{`router -upstream redis://x`, []string{`unknown flag -upstream`}},
		{`router -ack all`, []string{`unknown flag -ack`}},
		{`dev -nodes 0`, []string{`-nodes "0"`, `from 1 to 50`}},
		{`dev -base-port 70000`, []string{`-base-port "70000"`, `from 1 to 65535`}},
		{`dev -base-port 65530`, []string{`-base-port 65530`, `1 to 65501`}},
		{`ring a b`, []string{`unexpected argument b`}},
		{`ring -admin ftp://x`, []string{`-admin "ftp://x"`, `http://127.0.0.1:8081`}},
		{`status -json=2`, []string{`-json`}},
		{`import`, []string{`url`}},
		{`import 10.0.0.7:6379`, []string{`URL of Redis`, `redis://[user:password@]host[:port][/db]`}},
		{`import http://u:word@x`, []string{`"http://u:xxxxx@x"`, `redis://[user:password@]host[:port][/db]`}},
		{`import redis://x -to nowhere`, []string{`-to "nowhere"`, `host:port`}},
		{`import redis://x -rate fast`, []string{`-rate "fast"`, `a whole number from 0`}},
		{`import redis://x -from-password-file /does/not/exist`, []string{`-from-password-file`, `/does/not/exist`}},
		{`import redis://x -to-password-file /does/not/exist`, []string{`-to-password-file`, `/does/not/exist`}},
		{`import rediss://x -tls-ca /does/not/exist`, []string{`-tls-ca`, `/does/not/exist`}},
		{`import rediss://x -tls-ca flags_test.go`, []string{`-tls-ca flags_test.go`, `no certificate`, `BEGIN CERTIFICATE`}},
	} {
		t.Run(c.line, func(t *testing.T) {
			r := holdfast(t, strings.Fields(c.line)...)
			require.Equal(t, exitUsage, r.code, r.stderr)
			require.Empty(t, r.stdout)
			requireOneLine(t, r.stderr)
			for _, text := range c.says {
				require.Contains(t, r.stderr, text)
			}
		})
	}
}

// The parser finds names near that differ in every other letter.
func TestFarNamesAreNotSuggested(t *testing.T) {
	for _, line := range []string{"router -resp x", "router -peer x", "router -app x", "router -demo", "status -url x", "rin -x", "zing", "node ---", "node ----", "- x"} {
		r := holdfast(t, strings.Fields(line)...)
		require.Equal(t, exitUsage, r.code)
		requireOneLine(t, r.stderr)
		require.NotContains(t, r.stderr, `"-help"`, line)
		if line != "rin -x" {
			require.NotContains(t, r.stderr, "did you mean", line)
		}
	}
}

// What only package node can judge is refused there, in the same form.
func TestAddressesForEverybodyNeedProtection(t *testing.T) {
	for line, says := range map[string][]string{
		`node -gossip 0.0.0.0:7946`:   {`-gossip "0.0.0.0:7946"`, `-gossip-key-file`, `-insecure`},
		`router -gossip 0.0.0.0:7946`: {`-gossip "0.0.0.0:7946"`, `-gossip-key-file`, `-insecure`},
		`node -peer :8083`:            {`-peer ":8083"`, `-insecure`},
		`node -admin 192.0.2.1:8081`:  {`-admin "192.0.2.1:8081"`, `-insecure`},
	} {
		r := holdfast(t, strings.Fields(line)...)
		require.NotEqual(t, exitOK, r.code, line)
		requireOneLine(t, r.stderr)
		for _, text := range says {
			require.Contains(t, r.stderr, text)
		}
	}
}

func requireOneLine(t *testing.T, text string) {
	t.Helper()
	require.Equal(t, 1, strings.Count(text, "\n"), text)
	require.Less(t, len(text), 1500)
	require.NotContains(t, text, "goroutine")
	require.NotRegexp(t, `(^|[ "])--[a-z]`, text)
}

func TestLongValuesAreCut(t *testing.T) {
	r := holdfast(t, "node", "-ack", strings.Repeat("x", 1<<16))
	require.Equal(t, exitUsage, r.code)
	requireOneLine(t, r.stderr)
	require.Contains(t, r.stderr, "-ack")
}

func TestEnvironment(t *testing.T) {
	t.Setenv("HOLDFAST_COPIES", "3")
	t.Setenv("HOLDFAST_JOIN", "a:1,b:2")
	t.Setenv("HOLDFAST_ACK", "")
	c := parseNode(t, "-join", "c:3")
	require.EqualValues(t, 3, c.Copies)
	require.Equal(t, hostPorts{"c:3"}, c.Join, "the command line comes first")
	ack, err := c.Ack.MarshalText()
	require.NoError(t, err)
	require.Equal(t, "async", string(ack), "an empty variable is none")

	t.Setenv("HOLDFAST_UPSTREAM", "redis://old/3")
	require.EqualValues(t, "redis://old/3", parseNode(t).Upstream, "a password in it is not on the command line")
	t.Setenv("HOLDFAST_UPSTREAM", "redis://u:geheim@old/x")
	r := holdfast(t, "node")
	require.Equal(t, exitUsage, r.code)
	require.Contains(t, r.stderr, "HOLDFAST_UPSTREAM")
	require.NotContains(t, r.stderr, "geheim")
	t.Setenv("HOLDFAST_UPSTREAM", "")

	t.Setenv("HOLDFAST_COPIES", "many")
	r = holdfast(t, "node")
	require.Equal(t, exitUsage, r.code)
	requireOneLine(t, r.stderr)
	require.Contains(t, r.stderr, `-copies "many": must be`)
	require.Contains(t, r.stderr, `HOLDFAST_COPIES="many"`)
}

func parseNode(t *testing.T, args ...string) *nodeCommand {
	t.Helper()
	kctx, err := parse(append([]string{"node"}, args...), &streams{out: io.Discard, err: io.Discard})
	require.NoError(t, err)
	return kctx.Selected().Target.Addr().Interface().(*nodeCommand)
}

func TestNodeConfig(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(secret, []byte("0123456789abcdef\n"), 0o600))
	c := parseNode(t, "--name", "a", "-join", "b:1", "-join", "c:2,d:3", "-trust", "none", "-load=1.5",
		"-secret-file", secret, "-drain-timeout", "5s", "-insecure")
	cfg, err := c.config("node", &c.placeFlags, io.Discard)
	require.NoError(t, err)
	require.Equal(t, "a", cfg.Name)
	require.Equal(t, []string{"b:1", "c:2", "d:3"}, cfg.Join)
	require.NotNil(t, cfg.Trust, "nil would trust loopback")
	require.Empty(t, cfg.Trust)
	require.Equal(t, 1.5, cfg.Load)
	require.Equal(t, "0123456789abcdef", string(cfg.Secret))
	require.Equal(t, "5s", cfg.DrainTimeout.String())
	require.True(t, cfg.Insecure)
	require.Equal(t, "127.0.0.1:8084", cfg.Gossip)
}

func TestNormalize(t *testing.T) {
	for line, want := range map[string]string{
		"node -name x -copies=3":     "node --name x --copies=3",
		"node --name x -h":           "node --name x -h",
		"node -help":                 "node --help",
		"ring -- -key":               "ring -- -key",
		"ring -1":                    "ring -1",
		"help node":                  "node -h",
		"help":                       "-h",
		"-version":                   "version",
		"--version":                  "version",
		"node -name -x -demo -- -up": "node --name -x --demo -- -up",
	} {
		args := strings.Fields(line)
		require.Equal(t, want, strings.Join(normalize(args), " "), line)
		require.Equal(t, line, strings.Join(args, " "), "the arguments are the caller's")
	}
}

func TestHelp(t *testing.T) {
	t.Setenv("COLUMNS", "")
	onMachine(t, 8<<30)
	all := holdfast(t, "-h")
	require.Equal(t, exitOK, all.code)
	require.Empty(t, all.stderr)
	bare := holdfast(t)
	require.Equal(t, exitUsage, bare.code)
	require.Equal(t, all.stdout, bare.stderr)

	parser, err := newParser(io.Discard, func(int) {})
	require.NoError(t, err)
	for _, command := range parser.Model.Children {
		require.Contains(t, all.stdout, "  "+command.Name+" ")
		for _, ask := range [][]string{{command.Name, "-h"}, {command.Name, "--help"}, {"help", command.Name}} {
			r := holdfast(t, ask...)
			require.Equal(t, exitOK, r.code)
			require.Empty(t, r.stderr)
			requireHelpOf(t, command, r.stdout, defaultColumns)
		}
	}
	golden(t, "node-help.txt", holdfast(t, "node", "-h").stdout)
}

// Help is as wide as its terminal, up to what is easily read.
func TestHelpFitsTheTerminal(t *testing.T) {
	parser, err := newParser(io.Discard, func(int) {})
	require.NoError(t, err)
	for columns, width := range map[string]int{"80": 80, "90": 90, "100": 100, "250": 100} {
		t.Setenv("COLUMNS", columns)
		for _, command := range parser.Model.Children {
			requireHelpOf(t, command, holdfast(t, command.Name, "-h").stdout, width)
		}
		longest := 0
		for line := range strings.Lines(holdfast(t, "node", "-h").stdout) {
			longest = max(longest, len([]rune(line))-1)
		}
		require.Greater(t, longest, width-5, "the width is made use of")
	}
	t.Setenv("COLUMNS", "40") // too narrow for a command to copy; the text fits
	for line := range strings.Lines(holdfast(t, "drain", "-h").stdout) {
		require.LessOrEqual(t, len([]rune(line)), 41, line)
	}
}

var twoDashes = regexp.MustCompile(`(^|\s)--[a-z]`)

// requireHelpOf checks that help names every flag in its single-dash form with
// its default and its variable, and keeps to its width.
func requireHelpOf(t *testing.T, command *kong.Node, help string, width int) {
	t.Helper()
	require.NotRegexp(t, twoDashes, help)
	for _, f := range command.Flags {
		require.Contains(t, help, "  -"+f.Name)
		require.Contains(t, help, "$HOLDFAST_"+strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_")))
		if f.HasDefault {
			require.Contains(t, help, "(default "+f.Default+")")
		}
		require.NotEmpty(t, f.Help, f.Name)
		if !f.IsBool() {
			require.NotEmpty(t, f.PlaceHolder, f.Name)
		}
	}
	for line := range strings.Lines(help) {
		require.LessOrEqual(t, len([]rune(line)), width+1, line)
	}
}
