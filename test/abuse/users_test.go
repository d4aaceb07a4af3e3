package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestJudge(t *testing.T) {
	u := &user{name: "Ann"}
	session := func(k int) map[string]string {
		return map[string]string{"name": "Ann", "theme": "dark", "n": value(k)}
	}
	require.NoError(t, u.judge(session(0)))
	require.Error(t, u.judge(session(1)), "nobody has written it")

	u.tried, u.unsure = 1, []int{1} // sent, and no answer yet
	require.NoError(t, u.judge(session(0)))
	require.NoError(t, u.judge(session(1)))
	u.tried = 2
	u.unsure = []int{1, 2}
	u.wrote(2)
	require.NoError(t, u.judge(session(2)))
	require.NoError(t, u.judge(session(1)), "may have been done after the second")
	require.ErrorContains(t, u.judge(session(0)), "older")
	u.lossy = true
	require.NoError(t, u.judge(session(0)), "its node was killed")
	require.Error(t, u.judge(session(3)))

	require.ErrorContains(t, u.judge(nil), "gone")
	require.ErrorContains(t, u.judge(map[string]string{"name": "Bob", "theme": "dark", "n": value(2)}), "wrong content")
	require.ErrorContains(t, u.judge(map[string]string{"name": "Ann", "theme": "dark", "n": ""}), "nobody wrote")
}

// A write never makes a session grow: where there is no room it would rightly
// be refused.
func TestValuesAreOfOneLength(t *testing.T) {
	require.Len(t, value(9_999_999), len(value(0)))
}

func TestPlain(t *testing.T) {
	require.NoError(t, plain("node", nil))
	refused := &net.OpError{Op: "dial", Net: "tcp", Addr: &net.TCPAddr{Port: 4711}, Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	require.EqualError(t, plain("node", refused), "connection to the node: connection refused")
	require.EqualError(t, plain("router", fmt.Errorf("read: %w", os.ErrDeadlineExceeded)), "no answer from the router in 1s")
	require.EqualError(t, plain("node", errors.New("AUTH: -ERR")), "connection to the node: AUTH: -ERR")
}
