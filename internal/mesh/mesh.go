package mesh

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/seed-95a32959/holdfast/internal/clock"
	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/metric"
	"github.com/seed-95a32959/holdfast/internal/peer"
	"github.com/seed-95a32959/holdfast/internal/planted"
	"github.com/seed-95a32959/holdfast/internal/wait"
)

// Members is what a mesh asks about members, and tells.
type Members interface {
	View() *member.View
	// SetEnded says that a boot's process has ended: it closed its connections
	// and a dial was refused, or the address answers as another boot. SetGone
	// says that nothing was heard of it while dials were refused. SetBack takes
	// both back.
	SetEnded(id member.ID, why string)
	SetGone(id member.ID, why string)
	SetBack(id member.ID)
	// Mend asks for a full exchange of members with one whose ring differs for
	// long, or that does not know this member yet.
	Mend(id member.ID)
	// Recheck looks at all facts anew: a link has ended.
	Recheck()
	// Admits says whether a boot may connect to the peer port from an address,
	// and Keeps whether one that has may stay. KnowsAddress says whether some
	// member is there.
	Admits(id member.ID, role member.Role, from netip.Addr) member.Refusal
	Keeps(id member.ID, from netip.Addr) bool
	KnowsAddress(from netip.Addr) bool
}

// Config is what a Mesh needs. All but Connected is required.
type Config struct {
	Self peer.Identity // its parameters are those of Params
	// Params are the parameters of the ring that this member states.
	Params func() string
	// Dial connects to the peer port of another member.
	Dial func(ctx context.Context, address string) (net.Conn, error)
	// Limits says by type how long a request of a frame may be, and its answer.
	Limits  func(typ byte) (request, answer int)
	Members Members
	// Handler answers what other members ask, but heartbeats. It runs on the
	// connection's reading goroutine: what may wait goes through Mesh.Apart.
	Handler peer.Handler
	// Sections returns what heartbeats consist of, in order: what one hears may
	// rely on what those before it have. It is called once.
	Sections func(m *Mesh) []Section
	// Connected is told of a boot whose main connection is up.
	Connected func(id member.ID)
	Clock     clock.Clock
	// HostAhead is how far the host's clock is ahead of Clock.
	HostAhead func() time.Duration
	Log       *slog.Logger
	Pulse     *wait.Pulse
	// Go runs f in a goroutine that whoever made the mesh waits for.
	Go func(f func())
	// Counters lists what any member counts, NodeCounters what nodes alone do.
	Counters, NodeCounters *metric.Set
}

// Mesh is one member's links and its peer port.
type Mesh struct {
	cfg      Config
	id       member.ID
	ctx      context.Context // of all links
	gate     *gate
	sections []Section
	waiting  chan struct{} // has a place for each request that waits apart

	bytesIn, bytesOut, refusedOps, linksReplaced, relayed *metric.Counter

	mu    sync.RWMutex // guards links
	links map[member.ID]*Link
}

// New returns a mesh without links. They end with ctx.
func New(ctx context.Context, cfg Config) *Mesh {
	m := &Mesh{
		cfg: cfg, id: member.ID{Name: cfg.Self.Name, Boot: cfg.Self.Boot}, ctx: ctx,
		waiting: make(chan struct{}, maxWaiting), links: make(map[member.ID]*Link),
		relayed:       cfg.Counters.Counter("relayed", "Requests to members that went through a third one, because the direct connection does not answer."),
		linksReplaced: cfg.Counters.Counter("links_replaced", "Connections to members that were given up because nothing came back on them."),

		bytesIn:    cfg.Counters.Counter("peer_bytes_in", "Bytes read from peer connections."),
		bytesOut:   cfg.Counters.Counter("peer_bytes_out", "Bytes written to peer connections."),
		refusedOps: cfg.NodeCounters.Counter("refused_ops", "Forwarded operations refused because too many wait."),
	}
	m.gate, m.sections = newGate(m), cfg.Sections(m)
	cfg.NodeCounters.Func(func(put metric.Put) {
		put("refused_peers", "Connections refused at the peer port; peer_refused_total says why.", metric.Total(m.Refusals()))
	})
	return m
}

// Refused says whether a dial failed because the host answered that no process
// listens there: the sign that a member is gone, not merely silent.
func Refused(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }

// ErrNoLink says that there is no connection to a member at this moment.
var ErrNoLink = errors.New("no connection to the member")

// peerConfig is how this member introduces itself, and whom it takes.
func (m *Mesh) peerConfig() peer.Config {
	self := func() peer.Identity {
		id := m.cfg.Self
		id.Params = m.cfg.Params()
		return id
	}
	return peer.Config{
		Self:   self,
		Limits: m.cfg.Limits,
		Check: func(who peer.Identity) error {
			if ours := m.cfg.Self.Cluster; who.Cluster != ours {
				return fmt.Errorf("cluster %q here, %q there: give both the same -cluster", ours, who.Cluster)
			}
			if err := member.CheckWire(who.OldestWire, who.Wire); err != nil {
				return err
			}
			return member.CheckParams(m.cfg.Params(), who.Params, who.Name, who.Wire < member.WireParams)
		},
	}
}

// Sync has one link to each node that may be running, other than this one: to
// all that gossip has not forgotten, but those that have left or ended and
// those whose name another boot has. A boot that is out of reach comes back by
// its link alone, so that one stays, and one that ended while its link was up
// keeps it too.
func (m *Mesh) Sync(view *member.View) {
	ended := m.sync(view)
	for _, l := range ended {
		l.stop()
	}
	m.gate.viewChanged()
	for _, l := range m.Links() {
		l.Beat()
	}
}

func (m *Mesh) sync(view *member.View) (ended []*Link) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, who := range view.Members {
		if who.ID == m.id || who.Role != member.RoleNode {
			continue
		}
		_, have := m.links[who.ID]
		named := view.Named(who.Name)
		over := who.Left || named != nil && named.ID != who.ID
		switch {
		case !have && !over && !who.Ended && m.ctx.Err() == nil:
			m.startLocked(who)
		case have && over:
			ended = append(ended, m.links[who.ID])
			delete(m.links, who.ID)
		}
	}
	for id, l := range m.links {
		if view.Member(id) == nil {
			ended = append(ended, l)
			delete(m.links, id)
		}
	}
	return ended
}

func (m *Mesh) startLocked(who *member.Member) {
	l := newLink(m, who.ID, who.Peer)
	var ctx context.Context
	ctx, l.stop = context.WithCancel(m.ctx)
	m.links[who.ID] = l
	m.cfg.Go(func() { l.run(ctx) })
	m.cfg.Go(func() { l.relayBeats(ctx) })
	m.cfg.Go(func() { l.watch(ctx) })
}

// Link returns the link to a boot, nil if there is none.
func (m *Mesh) Link(id member.ID) *Link {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.links[id]
}

// Links returns all links, in a fixed order.
func (m *Mesh) Links() []*Link {
	m.mu.RLock()
	defer m.mu.RUnlock()
	all := make([]*Link, 0, len(m.links))
	for _, l := range m.links {
		all = append(all, l)
	}
	slices.SortFunc(all, func(a, b *Link) int { return a.id.Compare(b.id) })
	return all
}

// Beat sends a heartbeat to a boot out of turn.
func (m *Mesh) Beat(id member.ID) {
	if l := m.Link(id); l != nil {
		l.Beat()
	}
}

// BeatAll sends a heartbeat to all members that take part, and returns when
// they know what it says, or ctx ends.
func (m *Mesh) BeatAll(ctx context.Context) {
	view, question := m.cfg.Members.View(), m.question()
	var wg sync.WaitGroup
	for _, l := range m.Links() {
		if view.Up(l.id) {
			wg.Go(func() { _, _ = l.Call(ctx, TypeBeat, question) }) // the answer is that it knows
		}
	}
	wg.Wait()
}

// Call asks a boot over its main connection.
func (m *Mesh) Call(ctx context.Context, id member.ID, typ byte, payload []byte) ([]byte, error) {
	if l := m.Link(id); l != nil {
		return l.Call(ctx, typ, payload)
	}
	return nil, fmt.Errorf("%s: %w", id.Name, ErrNoLink)
}

// CallOnceConnected is Call that waits for a connection first: a member that
// has just been seen is asked as soon as it can be.
func (m *Mesh) CallOnceConnected(ctx context.Context, id member.ID, typ byte, payload []byte) (answer []byte, err error) {
	ended := m.cfg.Pulse.Until(ctx, recheck, func() bool {
		answer, err = m.Call(ctx, id, typ, payload)
		return !errors.Is(err, ErrNoLink) || !m.cfg.Members.View().Up(id)
	})
	return answer, errors.Join(err, ended)
}

// Speaks says whether a member is known to speak a wire version.
func (m *Mesh) Speaks(id member.ID, version int) bool {
	who := m.cfg.Members.View().Member(id)
	return who != nil && who.Speaks(version)
}

// HeardAll says whether every other node that takes part has answered a
// heartbeat with a lease, once at least. See Link.LastHeard.
func (m *Mesh) HeardAll() bool {
	return !slices.ContainsFunc(m.cfg.Members.View().Members, func(who *member.Member) bool {
		if who.ID == m.id || !who.Up || who.Role != member.RoleNode {
			return false
		}
		l := m.Link(who.ID)
		return l == nil || l.heard.Load() == 0
	})
}

// Linked says whether the direct connections with so many of the nodes that
// serve work in both directions that these and this one are more than half; the
// others can be reached through them. Where none serves yet, those count that
// are about to. broken are the names of those with whom they do not.
func (m *Mesh) Linked() (enough bool, broken []string) {
	var serving, joining []*member.Member
	for _, who := range m.cfg.Members.View().Members {
		switch {
		case who.ID == m.id || !who.Up || who.Role != member.RoleNode:
		case who.State > member.StateJoining:
			serving = append(serving, who)
		default:
			joining = append(joining, who)
		}
	}
	if len(serving) == 0 {
		serving = joining
	}
	for _, who := range serving {
		if l := m.Link(who.ID); l == nil || !l.bothWays() {
			broken = append(broken, who.Name)
		}
	}
	linked := 1 + len(serving) - len(broken)
	return 2*linked > 1+len(serving) || planted.Is(planted.JoinsUnreached), broken
}

// Unreached says whether nothing has come through to a member for 5 s, directly
// or through a third one, and when the last did, since the process's start.
func (m *Mesh) Unreached(id member.ID) (since time.Duration, unreached bool) {
	l := m.Link(id)
	if l == nil || !l.Unreached() {
		return 0, false
	}
	return max(time.Duration(l.reached.Load()), l.made), true
}

// Isolated says whether the direct connections with the nodes on the ring work
// in both directions with so few that these and this one are no majority of
// those whom gossip knows as alive. Of two halves the one with the first name
// is none. broken are the names of those with whom they do not work.
func (m *Mesh) Isolated() (isolated bool, broken []string) {
	least, linked, all := m.id.Name, 1, 1
	for _, who := range m.cfg.Members.View().Members {
		if who.ID == m.id || !who.Up && !who.Unreached || who.Role != member.RoleNode || who.State != member.StateReady || who.Unfit {
			continue
		}
		all++
		if l := m.Link(who.ID); l == nil || !l.bothWays() {
			broken = append(broken, who.Name)
			continue
		}
		linked++
		least = min(least, who.Name)
	}
	half := 2*linked == all && (len(broken) == 0 || least < slices.Min(broken))
	return 2*linked <= all && !half, broken
}

// Answers says whether the process of a boot is at an address: it lets this
// member in, or turns it away, which it does while gossip of this member is on
// its way.
func (m *Mesh) Answers(ctx context.Context, id member.ID, address string) bool {
	p, err := newLink(m, id, address).connect(ctx, 0)
	if err == nil {
		p.Close()
	}
	return err == nil || turnedAway(err)
}

// Suspect looks at a member that a request could not reach. The link finds a
// crash by itself within a millisecond; this covers a member whose link is not
// up, and waits for nothing.
func (m *Mesh) Suspect(id member.ID) {
	if l := m.Link(id); l != nil && !l.Connected() && !l.Reached() {
		m.cfg.Members.SetGone(id, "connection refused at its public address")
	}
}

// AwaitGone waits until this member's view is without another one, until its
// link to that one is up after all, or a third member reaches it, or until ctx
// ends.
func (m *Mesh) AwaitGone(ctx context.Context, id member.ID) {
	_ = m.cfg.Pulse.Until(ctx, recheck, func() bool { // in time, or not
		l := m.Link(id)
		return l == nil || l.Connected() || l.Reached() || !m.cfg.Members.View().Up(id)
	})
}

// ClockOffset is how far a member's clock is ahead of this one's, as far as is
// known.
func (m *Mesh) ClockOffset(id member.ID) time.Duration {
	if l := m.Link(id); l != nil {
		return l.ClockOffset()
	}
	return 0
}

// Resumed says that this process was not running for a while: nothing was heard
// lately.
func (m *Mesh) Resumed() {
	for _, l := range m.Links() {
		l.heard.Store(0)
	}
}

// maxWaiting bounds the requests that wait for something at one time: a copy's
// acknowledgement, or a cold partition.
const maxWaiting = 4096

// ErrBusy says that so many requests wait here already.
var ErrBusy = fmt.Errorf("%d operations wait here already", maxWaiting)

// Apart runs f in a goroutine of its own, unless too many do already.
func (m *Mesh) Apart(f func()) (started bool) {
	select {
	case m.waiting <- struct{}{}:
	default:
		m.refusedOps.Add(1)
		return false
	}
	m.cfg.Go(func() {
		defer func() { <-m.waiting }()
		f()
	})
	return true
}

// counted counts the bytes of a connection.
func (m *Mesh) counted(c net.Conn) net.Conn { return countedConn{c, m} }

type countedConn struct {
	net.Conn
	mesh *Mesh
}

func (c countedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.mesh.bytesIn.Add(int64(n))
	return n, err
}

func (c countedConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.mesh.bytesOut.Add(int64(n))
	return n, err
}

// AddIdle adds a link that does not connect. It is for tests of the packages
// above.
func (m *Mesh) AddIdle(id member.ID, address string) *Link {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := newLink(m, id, address)
	l.stop = func() {}
	m.links[id] = l
	return l
}
