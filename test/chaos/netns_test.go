package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	addressEnv = "HOLDFAST_CHAOS_ADDRESS"
	textEnv    = "HOLDFAST_CHAOS_TEXT"
)

// helpReceive prints every datagram that comes to an address.
func helpReceive() {
	c, err := net.ListenPacket("udp", os.Getenv(addressEnv))
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("listening")
	b := make([]byte, 1500)
	for {
		n, _, err := c.ReadFrom(b)
		if err != nil {
			return
		}
		fmt.Println(string(b[:n]))
	}
}

// helpSend sends one datagram.
func helpSend() {
	c, err := net.Dial("udp", os.Getenv(addressEnv))
	if err == nil {
		_, err = io.WriteString(c, os.Getenv(textEnv))
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// on returns a helper that runs on a host of the lab.
func on(ctx context.Context, l *lab, host int, helper string, env ...string) *exec.Cmd {
	words := append(l.place().prefix(host), os.Args[0])
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	cmd.Env = append(append(os.Environ(), helperEnv+"="+helper), env...)
	return cmd
}

func requireLab(t *testing.T) {
	t.Helper()
	if err := checkLab(t.Context()); err != nil {
		t.Skip(err)
	}
}

// listen starts a receiver on a host and returns what it prints.
func listen(t *testing.T, l *lab, host int) *bufio.Scanner {
	t.Helper()
	cmd := on(t.Context(), l, host, "receive", addressEnv+"="+l.address(host)+":9999")
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // ended with the test's context, most likely
		_ = cmd.Wait()
	})
	lines := bufio.NewScanner(out)
	require.True(t, lines.Scan())
	require.Equal(t, "listening", lines.Text())
	return lines
}

// A cut lets nothing pass one way, lets everything pass the other way, is not
// noticed by the sender, and is undone by heal.
func TestLabCutsOneWay(t *testing.T) {
	requireLab(t)
	l, err := newLab(t.Context(), 2)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.close()) })
	at := []*bufio.Scanner{listen(t, l, 0), listen(t, l, 1)}
	send := func(from, to int, text string) {
		out, err := on(t.Context(), l, from, "send", addressEnv+"="+l.address(to)+":9999", textEnv+"="+text).CombinedOutput()
		require.NoError(t, err, string(out))
	}
	got := func(host int) string {
		require.True(t, at[host].Scan())
		return at[host].Text()
	}
	send(0, 1, "before")
	require.Equal(t, "before", got(1))

	require.NoError(t, l.cut(t.Context(), 0, 1))
	send(0, 1, "lost")
	send(1, 0, "against the cut")
	require.Equal(t, "against the cut", got(0))

	require.NoError(t, l.heal(t.Context(), 0, 1))
	send(0, 1, "after")
	require.Equal(t, "after", got(1), "the datagram before was to be lost")

	// This program reaches the hosts, cut or not.
	require.NoError(t, l.cut(t.Context(), 0, 1))
	c, err := net.Dial("udp", l.address(1)+":9999")
	require.NoError(t, err)
	defer c.Close()
	_, err = io.WriteString(c, "from outside")
	require.NoError(t, err)
	require.Equal(t, "from outside", got(1))
}

// A firewall drops what its rules say, also of what goes on already, and
// nothing else; new rules replace the ones before. Cuts change in one step.
func TestLabFirewallsAndChanges(t *testing.T) {
	requireLab(t)
	if err := checkLab(t.Context(), "ip", "nft"); err != nil {
		t.Skip(err)
	}
	l, err := newLab(t.Context(), 2)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.close()) })
	at := []*bufio.Scanner{listen(t, l, 0), listen(t, l, 1)}
	send := func(from, to int, text string) {
		out, err := on(t.Context(), l, from, "send", addressEnv+"="+l.address(to)+":9999", textEnv+"="+text).CombinedOutput()
		require.NoError(t, err, string(out))
	}
	got := func(host int) string {
		require.True(t, at[host].Scan())
		return at[host].Text()
	}
	require.NoError(t, l.firewall(t.Context(), 1, "ip saddr "+l.address(0)+" udp dport 9999 drop"))
	send(0, 1, "dropped")
	send(1, 0, "against the rule")
	require.Equal(t, "against the rule", got(0))
	require.NoError(t, l.firewall(t.Context(), 1, "udp dport 9998 drop"))
	send(0, 1, "another port")
	require.Equal(t, "another port", got(1), "the datagram before was to be dropped")
	require.NoError(t, l.firewall(t.Context(), 1))
	require.ErrorContains(t, l.firewall(t.Context(), 1, "drop everything"), "syntax error")

	require.NoError(t, l.change(t.Context(), []way{{0, 1}}, nil))
	send(0, 1, "lost")
	require.NoError(t, l.change(t.Context(), []way{{1, 0}}, []way{{0, 1}}))
	send(1, 0, "lost")
	send(0, 1, "after the change")
	require.Equal(t, "after the change", got(1), "the datagram before was to be lost")
	require.NoError(t, l.change(t.Context(), nil, []way{{1, 0}}))
	send(1, 0, "healed")
	require.Equal(t, "healed", got(0), "the datagram before was to be lost")
}

func ours(t *testing.T, prefix string) (list []string) {
	t.Helper()
	names, err := namespaces()
	require.NoError(t, err)
	for _, n := range names {
		if strings.HasPrefix(n, prefix) {
			list = append(list, n)
		}
	}
	return list
}

func TestLabLeavesNothingBehind(t *testing.T) {
	requireLab(t)
	l, err := newLab(t.Context(), 3)
	require.NoError(t, err)
	require.Len(t, ours(t, l.prefix), 4)
	require.NoError(t, l.close())
	require.Empty(t, ours(t, l.prefix))
	// Its cable goes with the switch, a moment later.
	require.Eventually(t, func() bool {
		_, err := net.InterfaceByName(l.name("c"))
		return err != nil
	}, 10*time.Second, 5*time.Millisecond)

	// Interrupted in the middle, it cleans up too.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = newLab(ctx, 3)
	require.Error(t, err)
	require.Empty(t, ours(t, "hf"+strconv.Itoa(os.Getpid())+"x"))
}

// What a killed process has left is removed by the next one.
func TestLabSweeps(t *testing.T) {
	requireLab(t)
	cmd := exec.Command("true")
	require.NoError(t, cmd.Run())
	dead := fmt.Sprintf("hf%dxab", cmd.Process.Pid)
	require.NoError(t, ip(t.Context(), "netns", "add", dead+"s"))
	require.NoError(t, sweep())
	require.Empty(t, ours(t, dead))
}

func TestLabOf(t *testing.T) {
	pid, ok := labOf("hf123xabs")
	require.True(t, ok)
	require.Equal(t, 123, pid)
	for _, other := range []string{"", "hf", "hfx", "hf1xabs", "hfoox12s", "hf12", "somebody", "hf-5xabs", "hf12x"} {
		_, ok := labOf(other)
		require.False(t, ok, other)
	}
}
