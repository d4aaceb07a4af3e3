package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/seed-95a32959/holdfast/test/internal/nursery"
	"github.com/seed-95a32959/holdfast/test/internal/operator"
)

// appPort is that of the application, counted from the first of all ports.
const appPort = 90

const (
	nodes         = 3
	clusterName   = "abuse"
	settleTimeout = 30 * time.Second
	mebibyte      = 1 << 20
)

// setup is what is particular to the cluster of one attack.
type setup struct {
	memory     int64    // bytes of -memory; 0 means 256 MiB
	openGossip bool     // no gossip key, as is allowed on loopback
	password   string   // of the Redis protocol, empty for none
	flags      []string // of every member
	nodeFlags  []string
	app        bool // an application beside the nodes, which answers with what it was sent
	lossy      bool // a node is killed, so the last write of a user may be lost
}

func (s setup) limit() int64 {
	if s.memory == 0 {
		return 256 * mebibyte
	}
	return s.memory
}

// member is the router or a node.
type member struct {
	nursery.Member
	admin   *operator.Client
	process *nursery.Process // nil when none runs
}

// cluster is a router and three nodes on loopback, each a process.
type cluster struct {
	setup
	bin, dir string
	members  []*member // the router first
	nursery  *nursery.Nursery
	app      *http.Server // nil when there is none
	appAt    string
	serving  sync.WaitGroup // of app
}

// startCluster starts the members and returns when they agree.
func startCluster(ctx context.Context, bin, dir string, port int, s setup) (*cluster, error) {
	c := &cluster{setup: s, bin: bin, dir: dir, nursery: nursery.New()}
	for i := range nodes + 1 {
		m := &member{Member: nursery.NewMember(i, "127.0.0.1", port+nursery.PortsPerMember*i)}
		m.admin = operator.New(m.Address(nursery.AdminPort))
		c.members = append(c.members, m)
	}
	if err := c.writeKeys(); err != nil {
		c.close()
		return nil, err
	}
	if s.app {
		if err := c.startApp(port + appPort); err != nil {
			c.close()
			return nil, err
		}
	}
	for _, m := range c.members {
		if err := c.start(m); err != nil {
			c.close()
			return nil, err
		}
	}
	if err := c.settle(ctx); err != nil {
		c.close()
		return nil, fmt.Errorf("start %d nodes: %w; their logs are in %s", nodes, err, dir)
	}
	return c, nil
}

// writeKeys writes the files that the members share.
func (c *cluster) writeKeys() error {
	key := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("abuse+32"), 4))
	for _, f := range []struct{ name, text string }{{"cookie.secret", key}, {"gossip.key", key}, {"password", c.password}} {
		if err := os.WriteFile(filepath.Join(c.dir, f.name), []byte(f.text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

func (c *cluster) router() *member  { return c.members[0] }
func (c *cluster) nodes() []*member { return c.members[1:] }

// places are the nodes as each other's command lines speak of them.
func (c *cluster) places() (list []nursery.Member) {
	for _, m := range c.nodes() {
		list = append(list, m.Member)
	}
	return list
}

// named returns the member with a name, nil if there is none.
func (c *cluster) named(name string) *member {
	for _, m := range c.members {
		if m.Name == name {
			return m
		}
	}
	return nil
}

// start starts a member's process. It does not wait until it is ready.
func (c *cluster) start(m *member) error {
	args := m.Command(c.bin, clusterName, filepath.Join(c.dir, "cookie.secret"), c.places())
	if !c.openGossip {
		args = append(args, "-gossip-key-file", filepath.Join(c.dir, "gossip.key"))
	}
	args = append(args, c.flags...)
	if m.Node {
		args = append(args, "-memory", strconv.FormatInt(c.limit(), 10))
		args = append(args, c.nodeFlags...)
		if c.app != nil {
			args = append(args, "-app", "http://"+c.appAt)
		}
		if c.password != "" {
			args = append(args, "-resp-password-file", filepath.Join(c.dir, "password"))
		}
	}
	p, err := c.nursery.Start(args, nursery.Environment(), filepath.Join(c.dir, m.Name+".log"))
	if err != nil {
		return fmt.Errorf("start %s: %w", m.Name, err)
	}
	m.process = p
	return nil
}

// kill ends a node as a crash would.
func (c *cluster) kill(m *member) error {
	if err := syscall.Kill(m.process.Pid(), syscall.SIGKILL); err != nil {
		return fmt.Errorf("kill %s: %w", m.Name, err)
	}
	<-m.process.Gone()
	m.process = nil
	return nil
}

// settle waits until all members that run agree and are ready.
func (c *cluster) settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	for {
		if err := c.ended(); err != nil {
			return err
		}
		var list []operator.Member
		for _, m := range c.members {
			if m.process != nil {
				list = append(list, operator.Member{Name: m.Name, Node: m.Node, Pid: m.process.Pid(), Client: m.admin})
			}
		}
		err := operator.Settled(ctx, list)
		if err == nil {
			return nil
		}
		if !nursery.Sleep(ctx, 20*time.Millisecond) {
			return fmt.Errorf("the cluster has not settled in %v: %w", settleTimeout, err)
		}
	}
}

// ended tells of a member that ended by itself.
func (c *cluster) ended() error {
	for _, m := range c.members {
		if m.process != nil && m.process.Ended() {
			return fmt.Errorf("%s has ended with code %d; its log is %s", m.Name, m.process.Code(), filepath.Join(c.dir, m.Name+".log"))
		}
	}
	return nil
}

func (c *cluster) close() {
	for _, m := range c.members {
		m.admin.Close()
	}
	c.nursery.Close()
	if c.app != nil {
		_ = c.app.Close() // its clients are gone
		c.serving.Wait()
	}
}

// received is how the application answers: what it was sent.
type received struct {
	Header http.Header `json:"header"`
	Bytes  int64       `json:"bytes"`
}

// startApp starts the application that the nodes stand before.
func (c *cluster) startApp(port int) error {
	c.appAt = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	l, err := net.Listen("tcp", c.appAt)
	if err != nil {
		return fmt.Errorf("application beside the nodes: %w", err)
	}
	c.app = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		_ = json.NewEncoder(w).Encode(received{r.Header, n}) // fails when the client has left
	})}
	c.serving.Go(func() { _ = c.app.Serve(l) }) // until it is closed
	return nil
}

// peak is the most memory that a member's process ever had resident, in bytes,
// by Linux.
func (m *member) peak() int64 {
	if m.process == nil {
		return 0
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", m.process.Pid()))
	if err != nil {
		return 0 // it has ended, which is told elsewhere
	}
	return parsePeak(string(b))
}

// resident is the most memory of any node's process so far, and of the
// router's.
func (c *cluster) resident() (node, router int64) {
	for _, m := range c.nodes() {
		node = max(node, m.peak())
	}
	return node, c.router().peak()
}

// parsePeak finds VmHWM in the text of /proc/<pid>/status, in bytes.
func parsePeak(status string) int64 {
	for line := range strings.Lines(status) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			if err == nil {
				return n << 10
			}
		}
	}
	return 0
}

// cpu is the CPU time that the nodes' processes have taken so far.
func (c *cluster) cpu() (sum time.Duration) {
	for _, m := range c.nodes() {
		sum += m.cpu()
	}
	return sum
}

// cpu is the CPU time that the member's process has taken so far.
func (m *member) cpu() time.Duration {
	if m.process == nil {
		return 0
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", m.process.Pid()))
	if err != nil {
		return 0 // it has ended, which is told elsewhere
	}
	return parseCPU(string(b))
}

// parseCPU adds up the user and system time in the text of /proc/<pid>/stat,
// which counts in hundredths of a second.
func parseCPU(stat string) time.Duration {
	rest := stat[strings.LastIndex(stat, ")")+1:] // the name before may have spaces
	fields := strings.Fields(rest)
	const user, system = 11, 12
	if len(fields) <= system {
		return 0
	}
	var ticks int64
	for _, f := range fields[user : system+1] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// held is what a node holds: what it counts itself, and what its heap has after
// a collection, with the profile that says of what that is.
func (m *member) held(ctx context.Context) (counted, heap int64, profile []byte, err error) {
	stats, err := m.admin.Stats(ctx)
	if err != nil {
		return 0, 0, nil, err
	}
	profile, err = m.fetch(ctx, "/debug/pprof/heap?gc=1&debug=1")
	if err != nil {
		return 0, 0, nil, err
	}
	heap, err = parseHeap(string(profile))
	return stats.Bytes, heap, profile, err
}

// fetch gets something from the admin endpoint.
func (m *member) fetch(ctx context.Context, path string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+m.Address(nursery.AdminPort)+path, nil)
	if err != nil {
		return nil, err
	}
	got, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer got.Body.Close()
	text, err := io.ReadAll(got.Body)
	if err == nil && got.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s: %s: %.200s", path, got.Status, text)
	}
	return text, err
}

// parseHeap finds the bytes of live objects in a heap profile with debug=1.
func parseHeap(profile string) (int64, error) {
	const name = "# HeapAlloc = "
	_, rest, ok := strings.Cut(profile, name)
	if !ok {
		return 0, fmt.Errorf("heap profile: %q is not in it: %.80q", name, profile)
	}
	digits, _, _ := strings.Cut(rest, "\n")
	return strconv.ParseInt(digits, 10, 64)
}
