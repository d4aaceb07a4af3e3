package clients

import (
	"bytes"
	"os/exec"
	"regexp"
	"strings"

	"github.com/stretchr/testify/require"
)

var versionNumber = regexp.MustCompile(`\d+\.\d+\.\d+`)

// program tells the version of an installed program.
func program(name string) func() string {
	return func() string {
		out, err := exec.Command(name, "--version").Output()
		if err != nil {
			return "?" // it is absent, as the trial will say
		}
		return versionNumber.FindString(string(out))
	}
}

// look returns the path of a program, or ends the trial.
func (t *trial) look(name string) string {
	path, err := exec.LookPath(name)
	if err != nil {
		t.absent(name + " is not installed")
	}
	return path
}

// output runs a program to its end.
func (t *trial) output(name string, args ...string) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(t.ctx, t.look(name), args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	require.NoError(t, err, "%s %s: %s%s", name, strings.Join(args, " "), stdout.String(), stderr.String())
	return strings.TrimSpace(stdout.String())
}

func redisCLI(t *trial) { cli(t, "-p", t.Port(0)) }

// redisCLICluster follows redirects, had there been any.
func redisCLICluster(t *trial) {
	cli(t, "-c", "-p", t.Port(0))
	check := t.output("redis-cli", "--cluster", "check", t.Address(0))
	require.Contains(t, check, "[OK] All nodes agree about slots configuration.")
	require.Contains(t, check, "[OK] All 16384 slots covered.")
	t.did("--cluster check: all nodes agree, all slots covered")
}

func cli(t *trial, flags ...string) {
	run := func(args ...string) string {
		return t.output("redis-cli", append(append([]string{}, flags...), args...)...)
	}
	key := t.owned("cli-", 1)
	require.Equal(t, "PONG", run("PING"))
	require.Equal(t, "OK", run("SET", key, "alice", "EX", "100"))
	require.Equal(t, "alice", run("GET", key))
	require.Contains(t, []string{"100", "99", "98", "97", "96", "95"}, run("TTL", key))
	require.Equal(t, "2", run("HSET", key+"-hash", "user", "alice", "cart", "3"))
	require.Equal(t, "cart\n3\nuser\nalice", run("HGETALL", key+"-hash")) // in order of name
	require.Contains(t, strings.Split(run("--scan", "--pattern", "cli-*"), "\n"), key)
	t.did("PING, SET EX, GET, TTL, HSET, HGETALL, --scan")
	t.killOwner(key)
	require.Equal(t, "alice", run("GET", key))
	require.Equal(t, "1", run("EXPIRE", key, "200"))
	require.Equal(t, "1", run("DEL", key))
	require.NoError(t, t.Restore(t.ctx))
	require.Equal(t, "", run("GET", key))
	t.did("GET, EXPIRE, DEL when the owner was killed; nothing when it is back")
}

// redisBenchmark only has to get answers, and no errors.
func redisBenchmark(t *trial) {
	for _, flags := range [][]string{{}, {"--cluster"}} {
		out := t.output("redis-benchmark", append(flags, "-p", t.Port(0), "-q", "-c", "10", "-n", "5000", "-r", "1000", "-P", "4",
			"-t", "ping,set,get,incr,sadd,hset,mset")...)
		for _, name := range []string{"PING_INLINE", "SET", "GET", "INCR", "SADD", "HSET", "MSET"} {
			require.Regexp(t, `(?m)(^|\r)`+name+`.*: \d+\.\d+ requests per second`, out)
		}
		require.NotContains(t, strings.ToLower(out), "error")
	}
	t.did("PING, SET, GET, INCR, SADD, HSET, MSET, pipelined, with and without --cluster")
	require.NoError(t, t.Kill(1))
	// It waits for ever for a node that it was told of and that is dead.
	require.NoError(t, t.Settle(t.ctx))
	out := t.output("redis-benchmark", "--cluster", "-p", t.Port(0), "-q", "-c", "10", "-n", "2000", "-r", "1000", "-t", "set,get")
	require.NotContains(t, strings.ToLower(out), "error")
	t.did("--cluster with one node killed")
}
