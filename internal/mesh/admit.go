package mesh

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/peer"
)

const (
	// maxPeers bounds the connections to the peer port: three for each member.
	maxPeers = 1536
	// maxPerMember is how many one member may have. Beyond it the oldest is
	// closed, which is one that the member has given up behind a cut.
	maxPerMember = 8
	// maxGreetings bounds the connections whose peer has not said yet who it
	// is, and maxStrangers those of them that come from an address which no
	// member has: strangers elsewhere keep no member out.
	maxGreetings = 256
	maxStrangers = 64
	// peerBudget bounds the bytes of what members have asked and was not
	// answered, over all connections.
	peerBudget = 256 << 20
)

// Why a connection is turned away beside what gossip says.
const (
	otherBoot   member.Refusal = "other-boot" // it called a process that was here before
	otherParams member.Refusal = "parameters" // a member that does not fit
	noGreeting  member.Refusal = "greeting"   // it did not say who it is, or not in time
	tooMany     member.Refusal = "too-many"   // too many are open
)

var refusals = []member.Refusal{member.Stranger, member.OtherAddress, member.Ended, otherBoot, otherParams, noGreeting, tooMany}

// gate decides who may connect to the peer port: the boots that gossip tells
// of, from the addresses that it tells. Until there are certificates that is
// all that can be known of a peer; with a gossip key it is as much as the key
// is worth to whoever is not on a member's host.
type gate struct {
	mesh    *Mesh
	budget  *peer.Budget
	refused map[member.Refusal]*atomic.Int64
	warn    rate.Sometimes // of a member from another address

	mu        sync.Mutex // guards what follows
	greetings int        // connections whose peer is not known yet
	strangers int        // of these, those from an address that no member has
	members   map[member.ID][]*visit
	admitted  int
}

func newGate(m *Mesh) *gate {
	g := &gate{
		mesh: m, budget: peer.NewBudget(peerBudget), refused: make(map[member.Refusal]*atomic.Int64),
		warn: rate.Sometimes{Interval: warnAgain}, members: make(map[member.ID][]*visit),
	}
	for _, why := range refusals {
		g.refused[why] = new(atomic.Int64)
	}
	return g
}

// Refusals counts the connections that were turned away, by reason.
func (m *Mesh) Refusals() map[string]int64 {
	by := make(map[string]int64, len(m.gate.refused))
	for why, count := range m.gate.refused {
		by[string(why)] = count.Load()
	}
	return by
}

// warnAgain is how often, at most, a member warns of the same kind of stranger.
const warnAgain = time.Minute

// visit is one connection to the peer port.
type visit struct {
	gate     *gate
	from     netip.Addr
	stranger bool // no member has the address
	end      context.CancelFunc
	id       member.ID      // once it is admitted
	why      member.Refusal // why it was refused
}

// Accept serves the peer port until the listener closes.
func (m *Mesh) Accept(ctx context.Context, l net.Listener) {
	g := m.gate
	for {
		conn, err := l.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) || ctx.Err() != nil {
				return
			}
			m.cfg.Log.Warn("accept on the peer port", "error", err)
			select { // such as out of file descriptors: it will not be better at once
			case <-ctx.Done():
				return
			case <-time.After(50 * time.Millisecond):
			}
			continue
		}
		v := &visit{gate: g, from: member.IPOf(conn.RemoteAddr().String())}
		if !v.enter() {
			g.refused[tooMany].Add(1)
			conn.Close()
			continue
		}
		m.cfg.Go(func() { v.serve(ctx, conn) })
	}
}

// enter takes a place among those that have not said who they are.
func (v *visit) enter() bool {
	g := v.gate
	v.stranger = !g.mesh.cfg.Members.KnowsAddress(v.from)
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.greetings >= maxGreetings || v.stranger && g.strangers >= maxStrangers {
		return false
	}
	g.greetings++
	if v.stranger {
		g.strangers++
	}
	return true
}

func (v *visit) leaveGreetingLocked() {
	v.gate.greetings--
	if v.stranger {
		v.gate.strangers--
	}
}

// serve runs the connection to its end.
func (v *visit) serve(ctx context.Context, conn net.Conn) {
	m := v.gate.mesh
	ctx, v.end = context.WithCancel(ctx)
	defer v.end()
	cfg := m.peerConfig()
	cfg.Admit, cfg.Budget = v.admit, v.gate.budget
	err := peer.Accept(ctx, m.counted(conn), cfg, m)
	v.leave(err)
	if ctx.Err() == nil && !errors.Is(err, io.EOF) {
		m.cfg.Log.Debug("peer connection ended", "from", conn.RemoteAddr(), "error", err)
	}
}

// admit is asked when the peer has said who it is. Its error is a Refusal.
func (v *visit) admit(who peer.Identity, _ net.Addr) error {
	id := member.ID{Name: who.Name, Boot: who.Boot}
	if v.why = v.gate.mesh.cfg.Members.Admits(id, member.Role(who.Role), v.from); v.why != "" {
		if v.why == member.OtherAddress {
			v.gate.warnOfAddress(id, v.from)
		}
		return v.why
	}
	var oldest *visit
	g := v.gate
	g.mu.Lock()
	if g.admitted >= maxPeers {
		g.mu.Unlock()
		v.why = tooMany
		return v.why
	}
	v.leaveGreetingLocked()
	v.id = id
	g.admitted++
	g.members[id] = append(g.members[id], v)
	if len(g.members[id]) > maxPerMember {
		oldest = g.members[id][0]
	}
	g.mu.Unlock()
	if oldest != nil {
		oldest.end()
	}
	return nil
}

// warnOfAddress says, not often, that a member's connections do not come from
// where gossip tells that it is: a stranger has its name, or the member has
// more addresses than it tells.
func (g *gate) warnOfAddress(id member.ID, from netip.Addr) {
	g.warn.Do(func() {
		g.mesh.cfg.Log.Warn("refused at the peer port: a member's name from an address that is not its own; if it is the member, give it -peer with the address that it reaches others from",
			"member", id.Name, "boot", id.Boot, "from", from)
	})
}

// leave gives the connection's place back, and counts why it was refused, if it
// was.
func (v *visit) leave(err error) {
	g := v.gate
	g.mu.Lock()
	admitted := v.id != member.ID{}
	if admitted {
		g.admitted--
		g.members[v.id] = slices.DeleteFunc(g.members[v.id], func(other *visit) bool { return other == v })
		if len(g.members[v.id]) == 0 {
			delete(g.members, v.id)
		}
	} else {
		v.leaveGreetingLocked()
	}
	g.mu.Unlock()
	switch {
	case v.why != "":
	case errors.Is(err, peer.ErrOther):
		v.why = otherBoot
	case admitted && errors.Is(err, peer.ErrRefused):
		v.why = otherParams
	case !admitted && g.mesh.ctx.Err() == nil:
		v.why = noGreeting
	default:
		return
	}
	g.refused[v.why].Add(1)
}

// viewChanged closes the connections of those that have no business here now.
func (g *gate) viewChanged() {
	var all []*visit
	g.mu.Lock()
	for _, visits := range g.members {
		all = append(all, visits...)
	}
	g.mu.Unlock()
	for _, v := range all {
		if !g.mesh.cfg.Members.Keeps(v.id, v.from) {
			v.end()
		}
	}
}
