// Package cluster runs three real holdfast nodes on loopback for the tests with
// real clients: it builds the program, starts the nodes, kills the owner of a
// key as a crash would, and starts it anew.
package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Nodes is how many nodes a cluster has.
const Nodes = 3

// settleTimeout is how long the nodes may take to agree and to have all copies.
const settleTimeout = 60 * time.Second

// Ports of a node, counted from its first.
const (
	httpPort = iota
	adminPort
	respPort
	peerPort
	gossipPort
	portsPerNode = 10
)

// Cluster is for one goroutine.
type Cluster struct {
	bin, dir string
	base     int
	flags    []string // of each node, beside those that it needs
	nodes    [Nodes]*node

	// Each node holds one end of this pipe and ends when the other end is
	// closed, which it is when this process ends, however it ends.
	theirs, ours *os.File
}

type node struct {
	name string
	base int
	cmd  *exec.Cmd     // nil when it does not run
	gone chan struct{} // closed when cmd has ended
}

func (n *node) address(port int) string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(n.base+port))
}

// Start builds holdfast into dir, where logs go too, and starts nodes on the
// ports from base on, with some more flags each. It returns when they agree and
// are ready.
func Start(ctx context.Context, dir string, base int, flags ...string) (*Cluster, error) {
	c := &Cluster{bin: filepath.Join(dir, "holdfast"), dir: dir, base: base, flags: flags}
	if err := build(ctx, c.bin); err != nil {
		return nil, err
	}
	var err error
	if c.theirs, c.ours, err = os.Pipe(); err != nil {
		return nil, err
	}
	for i := range c.nodes {
		c.nodes[i] = &node{name: "node-" + strconv.Itoa(i+1), base: base + portsPerNode*i}
	}
	if err := c.Restore(ctx); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// build builds holdfast in its own module, with the versions that it names.
func build(ctx context.Context, bin string) error {
	root, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/seed-95a32959/holdfast").Output()
	if err != nil {
		return fmt.Errorf("find the module of holdfast: %w", err)
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-o", bin, "./cmd/holdfast")
	cmd.Dir = strings.TrimSpace(string(root))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build holdfast: %w: %s", err, out)
	}
	return nil
}

// Program is the path of the holdfast that was built.
func (c *Cluster) Program() string { return c.bin }

// Address is the host:port of node i, from 0, for Redis clients.
func (c *Cluster) Address(i int) string { return c.nodes[i].address(respPort) }

// Addresses are those of all nodes.
func (c *Cluster) Addresses() []string {
	var list []string
	for i := range c.nodes {
		list = append(list, c.Address(i))
	}
	return list
}

// Port is the port of node i for Redis clients.
func (c *Cluster) Port(i int) string { return strconv.Itoa(c.nodes[i].base + respPort) }

// Owner returns the number of the node that owns a key, as the first node that
// runs says.
func (c *Cluster) Owner(ctx context.Context, key string) (int, error) {
	for _, n := range c.nodes {
		if n.cmd == nil {
			continue
		}
		var answer struct{ Owner string }
		if err := n.get(ctx, "/admin/ring?key="+url.QueryEscape(key), &answer); err != nil {
			return 0, err
		}
		if i := slices.IndexFunc(c.nodes[:], func(n *node) bool { return n.name == answer.Owner }); i >= 0 {
			return i, nil
		}
		return 0, fmt.Errorf("%q is owned by %q", key, answer.Owner)
	}
	return 0, errors.New("no node runs")
}

// Kill ends a node as a crash would.
func (c *Cluster) Kill(i int) error {
	n := c.nodes[i]
	if n.cmd == nil {
		return fmt.Errorf("kill %s: it does not run", n.name)
	}
	err := n.cmd.Process.Kill()
	<-n.gone
	n.cmd = nil
	return err
}

// Restore starts the nodes that do not run and waits until all agree.
func (c *Cluster) Restore(ctx context.Context) error {
	for _, n := range c.nodes {
		if n.cmd == nil {
			if err := c.start(n); err != nil {
				return fmt.Errorf("start %s: %w", n.name, err)
			}
		}
	}
	return c.Settle(ctx)
}

func (c *Cluster) start(n *node) error {
	var join []string
	for _, o := range c.nodes {
		if o != n {
			join = append(join, o.address(gossipPort))
		}
	}
	log, err := os.OpenFile(filepath.Join(c.dir, n.name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(c.bin, append([]string{
		"node", "-name", n.name, "-cluster", "clients-" + strconv.Itoa(os.Getpid()), "-join", strings.Join(join, ","),
		"-http", n.address(httpPort), "-admin", n.address(adminPort), "-resp", n.address(respPort), "-resp-allow-flush",
		"-peer", n.address(peerPort), "-gossip", n.address(gossipPort),
	}, c.flags...)...)
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "HOLDFAST_") }),
		"HOLDFAST_PARENT_FD=3")
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = log, log, []*os.File{c.theirs}
	if err := cmd.Start(); err != nil {
		return err
	}
	n.cmd, n.gone = cmd, make(chan struct{})
	go func() {
		defer close(n.gone)
		_ = cmd.Wait() // Kill and Close want nothing but its end
	}()
	return nil
}

// Settle waits until all nodes that run have one view of each other and all
// copies are in place.
func (c *Cluster) Settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	for {
		err := c.settled(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the nodes have not settled in %v: %w; their logs are in %s", settleTimeout, err, c.dir)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (c *Cluster) settled(ctx context.Context) error {
	var want []string
	for _, n := range c.nodes {
		if n.cmd != nil {
			want = append(want, n.name)
		}
	}
	for _, n := range c.nodes {
		if n.cmd == nil {
			continue
		}
		var ring struct {
			Members []struct {
				Name string
				Pid  int
			}
			Partitions []struct{ Owner string }
		}
		if err := n.get(ctx, "/admin/ring", &ring); err != nil {
			return err
		}
		var owners []string
		for _, p := range ring.Partitions {
			if !slices.Contains(owners, p.Owner) {
				owners = append(owners, p.Owner)
			}
		}
		slices.Sort(owners)
		if !slices.Equal(owners, want) {
			return fmt.Errorf("%s sees the owners %v, not %v", n.name, owners, want)
		}
		for _, m := range ring.Members {
			for _, o := range c.nodes {
				if m.Name == o.name && o.cmd != nil && m.Pid != o.cmd.Process.Pid {
					return fmt.Errorf("%s sees an earlier process of %s", n.name, m.Name)
				}
			}
		}
		if err := n.get(ctx, "/readyz", nil); err != nil {
			return err
		}
	}
	return nil
}

// Copied waits until every change has got to all copies, so that a kill loses
// nothing that was acknowledged before.
func (c *Cluster) Copied(ctx context.Context) error {
	for _, n := range c.nodes {
		for n.cmd != nil {
			var stats struct{ Dirty int }
			if err := n.get(ctx, "/admin/stats", &stats); err != nil {
				return err
			}
			if stats.Dirty == 0 {
				break
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("%s has %d keys that are not copied: %w", n.name, stats.Dirty, ctx.Err())
			case <-time.After(5 * time.Millisecond):
			}
		}
	}
	return nil
}

func (n *node) get(ctx context.Context, path string, v any) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.address(adminPort)+path, nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("%s: %w", n.name, err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	switch {
	case err != nil:
		return fmt.Errorf("%s: GET %s: %w", n.name, path, err)
	case res.StatusCode != http.StatusOK:
		return fmt.Errorf("%s: GET %s: %s: %.300s", n.name, path, res.Status, body)
	case v == nil:
		return nil
	}
	return json.Unmarshal(body, v)
}

// Close ends the nodes and waits for their end.
func (c *Cluster) Close() {
	for _, n := range c.nodes {
		if n.cmd != nil {
			_ = n.cmd.Process.Kill() // fails only when it has ended
			<-n.gone
			n.cmd = nil
		}
	}
	c.theirs.Close()
	c.ours.Close()
}
