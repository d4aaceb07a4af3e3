package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/test/internal/nursery"
	"github.com/seed-95a32959/holdfast/test/internal/operator"
)

var errNotRunning = errors.New("it does not run")

// settleTimeout is how long a cluster may take to agree and to have all
// copies after a fault is over, before that is a broken promise.
const settleTimeout = 45 * time.Second

// place is where members run: on this host, or on hosts of a lab.
type place struct {
	host   func(i int) string   // address of member i
	prefix func(i int) []string // words before its command line
	port   func(i int) int      // its first port
}

// loopback puts every member on this host, from a port on.
func loopback(base int) place {
	return place{
		host:   func(int) string { return "127.0.0.1" },
		prefix: func(int) []string { return nil },
		port:   func(i int) int { return base + nursery.PortsPerMember*i },
	}
}

// member is one place in the cluster, with a process or without. Member 0 is
// the router; the others are nodes.
type member struct {
	nursery.Member
	prefix []string // words before its command line
	extra  []string // flags that the scenario gives it
	env    []string // what it has in its environment besides
	bin    string   // that it runs; empty for the cluster's
	door   *door
	admin  *operator.Client

	process *nursery.Process // nil when none runs
	frozen  bool
	outside bool // it runs and is not to be on the ring
}

func (m *member) running() bool { return m.process != nil && !m.process.Ended() }

// cluster is a router and nodes, each a process. It is for one goroutine, but
// its doors and admin doors are for any.
type cluster struct {
	bin     string
	dir     string // of logs and the cookie secret
	members []*member
	nursery *nursery.Nursery
	place   place
	opening sync.WaitGroup // of doors whose members have been started
}

// startCluster starts a router and nodes and returns when they agree.
func startCluster(ctx context.Context, bin, dir string, nodes int, at place) (*cluster, error) {
	return startClusterWith(ctx, bin, dir, nodes, at, func(*member) {})
}

// startClusterWith has prepare look at each member before it is started.
func startClusterWith(ctx context.Context, bin, dir string, nodes int, at place, prepare func(*member)) (*cluster, error) {
	c := &cluster{bin: bin, dir: dir, nursery: nursery.New(), place: at}
	if err := os.WriteFile(c.secret(), []byte(strings.Repeat("chaos-", 6)), 0o600); err != nil {
		return nil, err
	}
	for range nodes + 1 {
		prepare(c.add())
	}
	for _, m := range c.members {
		if err := c.start(m); err != nil {
			c.close()
			return nil, err
		}
	}
	if _, err := c.settle(ctx, settleTimeout); err != nil {
		c.close()
		return nil, fmt.Errorf("start %d nodes: %w; their logs are in %s", nodes, err, dir)
	}
	return c, nil
}

func (c *cluster) secret() string { return filepath.Join(c.dir, "cookie.secret") }

// add makes a place for one more member.
func (c *cluster) add() *member {
	i := len(c.members)
	m := &member{Member: nursery.NewMember(i, c.place.host(i), c.place.port(i)), prefix: c.place.prefix(i)}
	m.door = newDoor(m.Name, m.Address(nursery.HTTPPort), !m.Node)
	m.door.down.Store(true)
	m.admin = operator.New(m.Address(nursery.AdminPort))
	c.members = append(c.members, m)
	return m
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

// doors are the doors of all members, the router's first.
func (c *cluster) doors() []*door {
	var list []*door
	for _, m := range c.members {
		list = append(list, m.door)
	}
	return list
}

// start starts a member's process. It does not wait until it is ready.
func (c *cluster) start(m *member) error {
	args := append(slices.Clone(m.prefix), m.Command(or(m.bin, c.bin), "chaos", c.secret(), c.places())...)
	args = append(append(args, "-insecure"), m.extra...)
	p, err := c.nursery.Start(args, append(nursery.Environment(), m.env...), filepath.Join(c.dir, m.Name+".log"))
	if err != nil {
		return fmt.Errorf("start %s: %w", m.Name, err)
	}
	m.process, m.frozen = p, false
	c.opening.Go(func() { m.door.open(p.Gone()) })
	return nil
}

// kill ends a node as a crash would. It returns the moment just before.
func (c *cluster) kill(m *member) (time.Time, error) {
	m.door.lose()
	at := time.Now()
	if err := c.signal(m, syscall.SIGKILL); err != nil {
		return at, err
	}
	<-m.process.Gone()
	m.process = nil
	return at, nil
}

func (c *cluster) pause(m *member) error {
	m.frozen = true
	return c.signal(m, syscall.SIGSTOP)
}

func (c *cluster) resume(m *member) error {
	m.frozen = false
	return c.signal(m, syscall.SIGCONT)
}

func (c *cluster) signal(m *member, s syscall.Signal) error {
	if !m.running() {
		return fmt.Errorf("%v %s: %w", s, m.Name, errNotRunning)
	}
	if err := syscall.Kill(m.process.Pid(), s); err != nil {
		return fmt.Errorf("%v %s: %w", s, m.Name, err)
	}
	return nil
}

// terminate sends SIGTERM and waits until the node has drained and ended.
func (c *cluster) terminate(ctx context.Context, m *member) error {
	m.door.leave()
	if err := c.signal(m, syscall.SIGTERM); err != nil {
		return err
	}
	return c.awaitEnd(ctx, m)
}

// drain has the node drain over its admin door and waits until it has ended.
func (c *cluster) drain(ctx context.Context, m *member) error {
	m.door.leave()
	ctx, cancel := context.WithTimeout(ctx, 90*time.Second)
	defer cancel()
	if err := m.admin.Drain(ctx); err != nil {
		return err
	}
	return c.awaitEnd(ctx, m)
}

func (c *cluster) awaitEnd(ctx context.Context, m *member) error {
	ctx, cancel := context.WithTimeout(ctx, 90*time.Second)
	defer cancel()
	select {
	case <-m.process.Gone():
	case <-ctx.Done():
		return fmt.Errorf("%s has not ended: %w", m.Name, ctx.Err())
	}
	code := m.process.Code()
	m.process = nil
	if code != 0 {
		return fmt.Errorf("%s ended with exit code %d, 0 wanted; its log is %s", m.Name, code, filepath.Join(c.dir, m.Name+".log"))
	}
	return nil
}

// settle waits until all running members have one view of each other and all
// copies are in place, and returns how long that took.
func (c *cluster) settle(ctx context.Context, timeout time.Duration) (time.Duration, error) {
	begun := time.Now()
	for {
		err := c.settled(ctx)
		if err == nil {
			return time.Since(begun), nil
		}
		if time.Since(begun) > timeout {
			return time.Since(begun), fmt.Errorf("the cluster has not settled in %v: %w", timeout, err)
		}
		if !nursery.Sleep(ctx, 20*time.Millisecond) {
			return time.Since(begun), ctx.Err()
		}
	}
}

func (c *cluster) settled(ctx context.Context) error { return operator.Settled(ctx, c.awake()) }

// agreed says whether all running members show one ring, of exactly the nodes
// that run.
func (c *cluster) agreed(ctx context.Context) error { return operator.Agreed(ctx, c.awake()) }

// awake are the members that run and are not frozen.
func (c *cluster) awake() []operator.Member {
	var list []operator.Member
	for _, m := range c.members {
		if m.running() && !m.frozen && !m.outside {
			list = append(list, operator.Member{Name: m.Name, Node: m.Node, Pid: m.process.Pid(), Client: m.admin})
		}
	}
	return list
}

// watchReady asks a member whether it is ready until a moment has come. why is
// what it said last against that.
func (c *cluster) watchReady(ctx context.Context, m *member, until time.Time) (why string, ready bool) {
	for time.Now().Before(until) {
		reasons, err := m.admin.Unready(ctx)
		if err == nil {
			why = strings.Join(reasons, "; ")
			ready = ready || len(reasons) == 0
		}
		if !nursery.Sleep(ctx, 50*time.Millisecond) {
			break
		}
	}
	return why, ready
}

// keysOf makes count keys that a node owns by the router's ring.
func (c *cluster) keysOf(ctx context.Context, m *member, prefix string, count int) ([]string, error) {
	r, err := c.router().admin.Ring(ctx)
	if err != nil {
		return nil, err
	}
	if len(r.Partitions) != ring.Partitions {
		return nil, fmt.Errorf("/admin/ring shows %d partitions, %d wanted", len(r.Partitions), ring.Partitions)
	}
	var keys []string
	for i := 0; len(keys) < count; i++ {
		if i > 1e6 {
			return nil, errors.New(m.Name + " owns nothing")
		}
		if k := fmt.Sprintf("%s-%d", prefix, i); operator.OwnerOf(r, k) == m.Name {
			keys = append(keys, k)
		}
	}
	return keys, nil
}

// close ends all processes.
func (c *cluster) close() {
	for _, m := range c.members {
		m.door.close()
		m.admin.Close()
	}
	c.nursery.Close()
	c.opening.Wait()
}
