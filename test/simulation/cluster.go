package simulation

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-95a32959/holdfast/internal/disk/disktest"
	"github.com/seed-95a32959/holdfast/internal/inspect"
	"github.com/seed-95a32959/holdfast/node"
)

// Options says what cluster a test wants. Zero fields mean the defaults of
// node.Config.
type Options struct {
	Hosts int // how many there are; each is down until it is started
	// Routers is how many hosts there are for routers, beside those.
	Routers int
	// Redis opens the Redis endpoint of every node.
	Redis bool
	// Copies and Load are what nodes are asked for that are started from then on.
	Copies int
	Load   float64
	Mode   node.PartitionMode
	// Zones and Weights are what the hosts state, the first host first.
	Zones   []string
	Weights []float64
	// MemoryLimit is each node's, bytes.
	MemoryLimit int64
	// DeadSeeds makes -join of a host's later starts name hosts that do not
	// exist, and one that does.
	DeadSeeds bool
	// Disks gives each host a disk, which is there when its next node starts, and
	// Fsync says when that is synced, as node.Config does.
	Disks bool
	Fsync string
	// Delay is that of every path. Default: defaultDelay.
	Delay time.Duration
	// WatchEvery is how often the owners are counted. Default: watchEvery.
	WatchEvery time.Duration
	// Seed feeds the network's chances, and whatever else is drawn.
	Seed uint64
}

// settle is how long a test waits after its last node has ended: memberlist
// ends some of its goroutines by timers of up to a minute.
const settle = 3 * time.Minute

// spares are the hosts beyond those of the start, for joins.
const spares = 2

// Cluster is a number of hosts, the network between them, and the nodes that
// run on some.
type Cluster struct {
	Net   *Network
	Hosts []*Host
	// Routers are hosts on which routers run, and no node does.
	Routers []*Host

	t       testing.TB
	options Options
	began   time.Time
	log     logTail
	history *History
	load    *Load
	quiet   atomic.Bool    // it is left alone at the moment
	first   int            // nodes that were started at first
	expect  int            // nodes that found it
	running sync.WaitGroup // nodes that were killed and have not ended

	changed     atomic.Int64 // when something was last done to it, see noteChange
	shaping     sync.Mutex   // guards impairments; taken before any other lock
	impairments []*impairment
	deaths      deaths
}

// Host is one machine with a name and an address that stay, and a clock of its
// own. At most one node runs on it.
type Host struct {
	Name    string
	Address netip.Addr
	Zone    string
	Weight  float64 // 0 for the default
	Alone   bool    // its nodes are told of nobody to join
	Router  bool    // what runs on it is a router, and holds nothing

	cluster *Cluster
	offset  atomic.Int64 // of its wall clock, nanoseconds
	trap    atomic.Bool  // the next operation on its store pauses it
	astray  atomic.Bool  // a node that starts now finds its clock wrong
	joined  atomic.Int64 // how often a node was started

	mu      sync.Mutex // guards what follows
	process *Process
	node    *node.Node   // nil while it is down or starting
	past    []*node.Node // those that ran, the last ones
	left    bool         // the last one left in order, and has dropped what it had
	disk    *disktest.Mem
}

// pastKept is how many nodes of a host are kept after their end, to look into.
const pastKept = 2

// New returns a cluster whose hosts are all down. It must be called within a
// bubble; everything has ended when the test's cleanup has.
func New(t testing.TB, o Options) *Cluster {
	t.Helper()
	c := &Cluster{
		Net: NewNetwork(rand.New(rand.NewPCG(o.Seed, 1))),
		t:   t, options: o, began: time.Now(),
	}
	c.history = newHistory(c.began)
	c.log.heard = func(line string) {
		if strings.Contains(line, `msg="founded a cluster"`) {
			c.history.foundAnew()
		}
	}
	c.history.majority, c.history.single = o.Mode == node.PartitionMajority, o.Copies == 1
	for i := range o.Hosts {
		h := &Host{
			Name:    fmt.Sprintf("node-%d", i+1),
			Address: netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)}),
			cluster: c,
		}
		if i < len(o.Zones) {
			h.Zone = o.Zones[i]
		}
		if i < len(o.Weights) {
			h.Weight = o.Weights[i]
		}
		c.Hosts = append(c.Hosts, h)
	}
	for i := range o.Routers {
		c.Routers = append(c.Routers, &Host{
			Name: fmt.Sprintf("router-%d", i+1), Address: netip.AddrFrom4([4]byte{10, 0, 0, byte(o.Hosts + i + 1)}), cluster: c, Router: true,
		})
	}
	c.options.Delay = cmp.Or(o.Delay, defaultDelay)
	c.shape(func(p *Path) { p.Delay = c.options.Delay })
	t.Cleanup(c.stop)
	return c
}

// stop ends every node and waits until nothing of any is left.
func (c *Cluster) stop() {
	for _, h := range c.all() {
		h.Kill()
	}
	c.running.Wait()
	time.Sleep(settle)
	if c.t.Failed() {
		c.t.Logf("the last that the nodes logged:\n%s", c.log.String())
	}
}

// Elapsed is the virtual time since the cluster was made.
func (c *Cluster) Elapsed() time.Duration { return time.Since(c.began) }

// History returns what workers have asked and were told.
func (c *Cluster) History() *History { return c.history }

// StartAll starts the first n hosts at once, and the routers, and waits until
// all have joined.
func (c *Cluster) StartAll(n int) {
	c.t.Helper()
	c.first, c.expect = n, n/2+1
	var starting sync.WaitGroup
	hosts := slices.Concat(c.Hosts[:n], c.Routers)
	errs := make([]error, len(hosts))
	for i, h := range hosts {
		starting.Go(func() { errs[i] = h.Start() })
	}
	starting.Wait()
	if err := errors.Join(errs...); err != nil {
		c.t.Fatal(err)
	}
}

// Node returns the node that runs on the host, nil if none does, and
// its process.
func (h *Host) Node() (*node.Node, *Process) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.node, h.process
}

// Up says whether a node runs on the host.
func (h *Host) Up() bool {
	n, _ := h.Node()
	return n != nil
}

// Skew sets the host's wall clock off by d. Monotonic time is not touched.
func (h *Host) Skew(d time.Duration) {
	h.cluster.history.fault("clock", h.Name, d.String())
	h.offset.Store(int64(d))
}

// Start runs a node on the host, which must be down. It returns when the node
// has joined.
func (h *Host) Start() error {
	c := h.cluster
	c.history.fault("start", h.Name, "")
	p := c.Net.Boot(h.Address)
	h.mu.Lock()
	h.process, h.left = p, false
	if c.options.Disks && !h.Router && h.disk == nil {
		h.disk = disktest.New()
	}
	disk := h.disk
	h.mu.Unlock()
	address := func(port int) string { return netip.AddrPortFrom(h.Address, uint16(port)).String() }
	seeds, expect := h.seeds(), c.expect
	if h.Alone {
		seeds, expect = nil, 0
	}
	cfg := node.Config{
		Name: h.Name, Zone: h.Zone, Weight: h.Weight, HTTP: address(httpPort), Admin: address(8081), Peer: address(peerPort), Gossip: address(gossipPort),
		Advertise: h.Address.String(), Insecure: true, Join: seeds, Expect: expect,
		Copies: c.options.Copies, Load: c.options.Load, PartitionMode: c.options.Mode, MemoryLimit: c.options.MemoryLimit, Secret: make([]byte, 32),
		Log: c.log.logger(h.Name, c.began), Network: p, Now: func() time.Time { return h.now(p) },
	}
	if h.Router {
		cfg.Role, cfg.Peer, cfg.Expect = node.RoleRouter, "", 0
	} else if c.options.Redis {
		cfg.RESP, cfg.RESPRefuseRevive = address(redisPort), refuseRevive
	}
	if disk != nil {
		cfg.Files, cfg.Fsync = disk, c.options.Fsync
	}
	n, err := node.Start(p.Context(), cfg)
	if err != nil {
		return fmt.Errorf("start %s: %w", h.Name, err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.process != p { // killed while it started
		c.running.Go(func() { <-n.Done() })
		return fmt.Errorf("start %s: %w", h.Name, errEnded)
	}
	h.node = n
	if len(h.past) == pastKept {
		h.past = slices.Delete(h.past, 0, 1)
	}
	h.past = append(h.past, n)
	return nil
}

// seeds is the node's -join: the first three hosts, or with DeadSeeds, for all
// but the first start, two that there never were and one of the others.
func (h *Host) seeds() (seeds []string) {
	c := h.cluster
	if nth := int(h.joined.Add(1)) - 1; nth > 0 && c.options.DeadSeeds {
		others := c.others(h)
		return []string{"10.9.9.1:8084", "10.9.9.2:8084", netip.AddrPortFrom(others[nth%c.expect].Address, gossipPort).String()}
	}
	for _, other := range c.Hosts[:min(3, len(c.Hosts))] {
		seeds = append(seeds, netip.AddrPortFrom(other.Address, gossipPort).String())
	}
	return seeds
}

// members is how many hosts have a node, or are to have one again.
func (c *Cluster) members() (n int) {
	for i, h := range c.Hosts {
		if i < c.first || h.Up() {
			n++
		}
	}
	return n
}

// lately returns the nodes that run or ran on the host, the last ones. Unknown
// says that another one is starting, or that the last one has left in order.
func (h *Host) lately() (nodes []*node.Node, unknown bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.past), h.process != nil && h.node == nil || h.left
}

// now is the host's wall clock. A process that is paused stands still in front
// of its store, see inStore.
func (h *Host) now(p *Process) time.Time {
	if (h.trap.Load() || p.Paused()) && inStore() {
		if h.trap.CompareAndSwap(true, false) {
			h.Pause()
		}
		p.AwaitResume()
	}
	return time.Now().Add(time.Duration(h.offset.Load()))
}

// inStore says whether the clock is read for an operation on a session.Store,
// which does that before it takes a lock. Admit, which admits operations, is
// called under one. So a paused process can be held
// there, as SIGSTOP may hold it between the look at its lease and the write.
func inStore() bool {
	var callers [8]uintptr
	frames := runtime.CallersFrames(callers[:runtime.Callers(3, callers[:])])
	for {
		frame, more := frames.Next()
		if strings.Contains(frame.Function, "/holdfast/session.(*Store).") {
			return !strings.HasSuffix(frame.Function, ").Admit")
		}
		if !more {
			return false
		}
	}
}

// Kill ends the node as SIGKILL does: without a word. It does nothing on a host
// that is down.
func (h *Host) Kill() {
	h.mu.Lock()
	n, p := h.node, h.process
	h.node, h.process = nil, nil
	if h.disk != nil && p != nil {
		h.disk = h.disk.Killed()
	}
	h.mu.Unlock()
	if p == nil {
		return
	}
	h.noteStop("kill", n)
	if n != nil && !h.Router {
		h.cluster.noteDeath(h, n)
	}
	p.Crash()
	if n != nil {
		h.cluster.running.Go(func() { <-n.Done() })
	}
}

// noteStop notes that a node stops, and how much of what it has acknowledged
// goes with it.
func (h *Host) noteStop(what string, n *node.Node) {
	f := Fault{What: what, Host: h.Name}
	if n != nil && !h.Router {
		f.Lag = inspect.Of(n).Lag()
		f.More = fmt.Sprintf("lag %v", f.Lag)
	}
	h.cluster.history.addFault(f)
}

// LosePower ends the node, and of what it has written and not synced as much as
// chance says.
func (h *Host) LosePower(random *rand.Rand) {
	h.Kill()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.disk != nil {
		h.disk = h.disk.Crashed(random)
	}
}

// LoseDisk gives the host, which is down, an empty disk.
func (h *Host) LoseDisk() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.disk = nil
}

// Disk is what a host that is down has on its disk, for SetDisk.
func (h *Host) Disk() *disktest.Mem {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.disk.Killed()
}

// SetDisk puts a disk of before back into the host, which is down.
func (h *Host) SetDisk(disk *disktest.Mem) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.disk = disk.Killed()
}

// Restart kills the node, if one runs, and starts another at once.
func (h *Host) Restart() error {
	h.Kill()
	return h.Start()
}

// Drain hands over what the node holds and stops it.
func (h *Host) Drain(ctx context.Context) error {
	n, p := h.Node()
	if n == nil {
		return fmt.Errorf("drain %s: it is down", h.Name)
	}
	h.cluster.history.fault("drain", h.Name, "")
	err := n.Shutdown(ctx)
	h.mu.Lock()
	if h.process == p {
		h.node, h.process, h.left = nil, nil, true
	}
	h.mu.Unlock()
	h.cluster.history.fault("drained", h.Name, "")
	p.Crash()
	if err != nil {
		h.cluster.noteDeath(h, n)
		return fmt.Errorf("drain %s: %w", h.Name, err)
	}
	return nil
}

// Pause stops the node's process as SIGSTOP does, and Resume continues it.
func (h *Host) Pause() {
	if n, p := h.Node(); p != nil {
		h.noteStop("pause", n)
		p.Pause()
	}
}

// PauseInside pauses the node in the middle of its next operation: after all
// that is looked at before it, and in front of the store. It returns when that
// has come about.
func (h *Host) PauseInside() {
	_, p := h.Node()
	h.trap.Store(true)
	for p != nil && !p.Paused() && p.Context().Err() == nil {
		time.Sleep(time.Millisecond)
	}
	h.trap.Store(false)
}

// Resume ends a pause.
func (h *Host) Resume() {
	if _, p := h.Node(); p != nil {
		h.cluster.history.fault("resume", h.Name, "")
		p.Resume()
	}
}

// CutOneWay lets nothing through from one host to another.
func (c *Cluster) CutOneWay(from, to *Host) {
	c.history.fault("cut", from.Name, to.Name)
	c.Net.Change(from.Address, to.Address, func(p *Path) { p.Cut = true })
}

// Cut lets nothing through between each host of one side and each of the other.
func (c *Cluster) Cut(a, b []*Host) {
	for _, x := range a {
		for _, y := range b {
			c.CutOneWay(x, y)
			c.CutOneWay(y, x)
		}
	}
}

// Reset breaks every connection between two hosts, as a firewall does that has
// forgotten them. Both processes live on, and may connect anew.
func (c *Cluster) Reset(a, b *Host) {
	c.history.fault("reset", a.Name, b.Name)
	c.Net.Reset(a.Address, b.Address)
}

// peerPort is where nodes take the links of others.
const peerPort = 8083

// Stall lets nothing more through on the newest connection of the link from a
// to b, which is the one for bulk transfers where there is one, and otherwise
// the one that is watched. See Network.Stall.
func (c *Cluster) Stall(a, b *Host, both bool, d time.Duration) {
	c.history.fault("stall", a.Name, b.Name)
	if !c.Net.Stall(a.Address, netip.AddrPortFrom(b.Address, peerPort), both, d) {
		c.t.Fatalf("no connection from %s to %s", a.Name, b.Name)
	}
}

// SetPeerPort changes what becomes of a's new connections to b's peer port.
func (c *Cluster) SetPeerPort(a, b *Host, fault PortFault) {
	c.history.fault("peer-port", a.Name, fmt.Sprint(b.Name, " ", fault))
	c.Net.SetPort(a.Address, netip.AddrPortFrom(b.Address, peerPort), fault)
}

// Heal opens every path again and makes it as it was at first.
func (c *Cluster) Heal() {
	c.history.fault("heal", "", "")
	for _, a := range c.Hosts {
		for _, b := range c.Hosts {
			c.Net.SetPort(a.Address, netip.AddrPortFrom(b.Address, peerPort), PortOpen)
		}
	}
	c.shape(func(p *Path) { *p = Path{Delay: c.options.Delay} })
}

// all returns the hosts of nodes and of routers.
func (c *Cluster) all() []*Host { return slices.Concat(c.Hosts, c.Routers) }

// doors returns the hosts at which clients of a kind find somebody.
func (c *Cluster) doors(by string) []*Host {
	if by == byRouter {
		return running(c.Routers)
	}
	return c.Running()
}

// shape changes every path between two hosts.
func (c *Cluster) shape(change func(*Path)) {
	for _, a := range c.all() {
		for _, b := range c.all() {
			if a != b {
				c.Net.Change(a.Address, b.Address, change)
			}
		}
	}
}

// Running returns the hosts with a node that is not paused.
func (c *Cluster) Running() (hosts []*Host) { return running(c.Hosts) }

func running(all []*Host) (hosts []*Host) {
	for _, h := range all {
		if n, p := h.Node(); n != nil && !p.Paused() {
			hosts = append(hosts, h)
		}
	}
	return hosts
}

// logTail keeps the last lines that the nodes have logged.
type logTail struct {
	heard func(line string) // is told of each

	mu    sync.Mutex // guards lines
	lines []string
}

// tailLines is how many of these are kept.
var tailLines = 400

func (l *logTail) Write(b []byte) (int, error) {
	l.heard(string(b))
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.lines) == 2*tailLines {
		l.lines = append(l.lines[:0], l.lines[tailLines:]...)
	}
	l.lines = append(l.lines, string(b))
	return len(b), nil
}

func (l *logTail) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.lines[max(0, len(l.lines)-tailLines):], "")
}

func (l *logTail) logger(name string, began time.Time) *slog.Logger {
	h := slog.NewTextHandler(l, &slog.HandlerOptions{
		Level: logLevel,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.String("at", time.Since(began).String())
			}
			return a
		},
	})
	return slog.New(h).With("host", name)
}

// logLevel is what is kept of the nodes' logs.
var logLevel = slog.LevelInfo
