//go:build unix

package main

import (
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// A closed terminal, or an operator who means "read your files again", must not
// end a member without a drain.
func TestHangupEndsNoMember(t *testing.T) {
	base := freeBase(t, 1)
	at := func(member, port int) string {
		return net.JoinHostPort("127.0.0.1", strconv.Itoa(base+10*member+port))
	}
	secret := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(secret, []byte("0123456789abcdef"), 0o600))
	node := spawn(t, nil, "node", "-name", "a", "-secret-file", secret,
		"-http", at(1, httpPort), "-admin", at(1, adminPort), "-resp", at(1, respPort), "-peer", at(1, peerPort), "-gossip", at(1, gossipPort))
	node.await(`msg=started`)
	router := spawn(t, nil, "router", "-name", "r", "-join", at(1, gossipPort), "-secret-file", secret,
		"-http", at(0, httpPort), "-admin", at(0, adminPort), "-gossip", at(0, gossipPort))
	router.await(`msg=started`)

	for _, member := range []*child{node, router} {
		require.NoError(t, member.cmd.Process.Signal(syscall.SIGHUP))
		member.await(`SIGHUP: files read again.* unchanged=\[` + secret + `\] in_use_after_restart=\[\]`)
	}
	require.NoError(t, os.WriteFile(secret, []byte("fedcba9876543210"), 0o600))
	require.NoError(t, node.cmd.Process.Signal(syscall.SIGHUP))
	node.await(`SIGHUP: .* unchanged=\[\] in_use_after_restart=\[` + secret + `\]`)
	require.NoError(t, os.Chmod(secret, 0o666))
	require.NoError(t, router.cmd.Process.Signal(syscall.SIGHUP))
	router.await(`level=ERROR msg="SIGHUP: .*others can write it`)
	for _, output := range []string{node.output(), router.output()} {
		require.NotContains(t, output, "fedcba9876543210")
	}

	resp, err := http.Post("http://"+at(0, httpPort)+"/v1/sessions", "", nil)
	require.NoError(t, err)
	resp.Body.Close()
	require.Equal(t, http.StatusCreated, resp.StatusCode, "both go on")
	require.NoError(t, router.cmd.Process.Signal(syscall.SIGTERM))
	require.Equal(t, exitOK, router.exit())
	require.NoError(t, node.cmd.Process.Signal(syscall.SIGTERM))
	node.exit() // with what a last node says that nobody can take over from
	require.Contains(t, node.output(), "msg=draining")
}

// The reader of the log has gone, as with "holdfast node 2>&1 | less".
func TestNobodyReadsTheLog(t *testing.T) {
	base := freeBase(t, 1)
	at := func(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(base+10+port)) }
	read, write, err := os.Pipe()
	require.NoError(t, err)
	cmd := exec.Command(executable(t), "node", "-name", "a", "-log-level", "debug",
		"-http", at(httpPort), "-admin", at(adminPort), "-resp", at(respPort), "-peer", at(peerPort), "-gossip", at(gossipPort))
	cmd.Env = append(os.Environ(), asHoldfast+"=1")
	cmd.Stderr = write
	require.NoError(t, cmd.Start())
	write.Close()
	var first [1]byte
	_, err = read.Read(first[:])
	require.NoError(t, err, "it has begun to log")
	read.Close()
	require.Eventually(t, func() bool {
		resp, err := http.Get("http://" + at(adminPort) + "/readyz")
		if err == nil {
			resp.Body.Close()
		}
		return err == nil && resp.StatusCode == http.StatusOK
	}, patience, patience/1000, "it goes on")
	require.NoError(t, cmd.Process.Signal(syscall.SIGHUP)) // one more line
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	_ = cmd.Wait() // the last node of a cluster hands nothing over
	require.False(t, cmd.ProcessState.Sys().(syscall.WaitStatus).Signaled(), "%v", cmd.ProcessState)
}

func executable(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	require.NoError(t, err)
	return path
}
