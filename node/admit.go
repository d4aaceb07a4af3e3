package node

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

	"github.com/seed-95a32959/holdfast/peer"
)

const (
	// maxPeers bounds the connections to the peer port: two for each member.
	maxPeers = 1024
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

// refusal is why a connection was turned away at the peer port.
type refusal string

const (
	refusedStranger refusal = "stranger"   // gossip knows no such boot
	refusedAddress  refusal = "address"    // one of a member's name and boot, from elsewhere
	refusedEnded    refusal = "ended"      // its process has ended, or said good-bye
	refusedOther    refusal = "other-boot" // it called a process that was here before
	refusedParams   refusal = "parameters" // a member that does not fit
	refusedGreeting refusal = "greeting"   // it did not say who it is, or not in time
	refusedMany     refusal = "too-many"   // too many are open
)

var refusals = []refusal{refusedStranger, refusedAddress, refusedEnded, refusedOther, refusedParams, refusedGreeting, refusedMany}

func (r refusal) Error() string { return "refused at the peer port: " + string(r) }

// gate decides who may connect to the peer port: the boots that gossip tells
// of, from the addresses that it tells. Until there are certificates that is all
// that can be known of a peer; with a gossip key it is as much as the key is
// worth to whoever is not on a member's host.
type gate struct {
	node    *Node
	budget  *peer.Budget
	refused map[refusal]*atomic.Int64

	mu        sync.Mutex // guards what follows
	greetings int        // connections whose peer is not known yet
	strangers int        // of these, those from an address that no member has
	members   map[ID][]*visit
	admitted  int
	warned    time.Time // of a member from another address
}

func newGate(n *Node) *gate {
	g := &gate{node: n, budget: peer.NewBudget(peerBudget), refused: make(map[refusal]*atomic.Int64), members: make(map[ID][]*visit)}
	for _, why := range refusals {
		g.refused[why] = new(atomic.Int64)
	}
	return g
}

func (g *gate) refusedTotal() (n int64) {
	for _, c := range g.refused {
		n += c.Load()
	}
	return n
}

// visit is one connection to the peer port.
type visit struct {
	gate     *gate
	from     netip.Addr
	stranger bool // no member has the address
	end      context.CancelFunc
	id       ID      // once it is admitted
	why      refusal // why it was refused
}

// accept serves the peer port until the listener closes.
func (g *gate) accept(ctx context.Context, l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) || ctx.Err() != nil {
				return
			}
			g.node.log.Warn("accept on the peer port", "error", err)
			select { // such as out of file descriptors: it will not be better at once
			case <-ctx.Done():
				return
			case <-time.After(50 * time.Millisecond):
			}
			continue
		}
		v := &visit{gate: g, from: addrOf(conn.RemoteAddr())}
		if !v.enter() {
			g.refused[refusedMany].Add(1)
			conn.Close()
			continue
		}
		g.node.group.Go(func() { v.serve(ctx, conn) })
	}
}

// enter takes a place among those that have not said who they are.
func (v *visit) enter() bool {
	g := v.gate
	v.stranger = !g.node.gossip.hasAddress(v.from)
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
	n := v.gate.node
	ctx, v.end = context.WithCancel(ctx)
	defer v.end()
	cfg := n.peerConfig()
	cfg.Admit, cfg.Budget = v.admit, v.gate.budget
	err := peer.Accept(ctx, n.counted(conn), cfg, inbound{n})
	v.leave(err)
	if ctx.Err() == nil && !errors.Is(err, io.EOF) {
		n.log.Debug("peer connection ended", "from", conn.RemoteAddr(), "error", err)
	}
}

// admit is asked when the peer has said who it is. Its error is a refusal.
func (v *visit) admit(who peer.Identity, _ net.Addr) error {
	id := ID{Name: who.Name, Boot: who.Boot}
	if v.why = v.gate.node.admits(id, Role(who.Role), v.from); v.why != "" {
		if v.why == refusedAddress {
			v.gate.warnOfAddress(id, v.from)
		}
		return v.why
	}
	var oldest *visit
	g := v.gate
	g.mu.Lock()
	if g.admitted >= maxPeers {
		g.mu.Unlock()
		v.why = refusedMany
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
func (g *gate) warnOfAddress(id ID, from netip.Addr) {
	g.mu.Lock()
	due := g.warned.IsZero() || time.Since(g.warned) >= strangerWarn
	if due {
		g.warned = time.Now()
	}
	g.mu.Unlock()
	if due {
		g.node.log.Warn("refused at the peer port: a member's name from an address that is not its own; if it is the member, give it -peer with the address that it reaches others from",
			"member", id.Name, "boot", id.Boot, "from", from)
	}
}

// leave gives the connection's place back, and counts why it was refused, if it
// was.
func (v *visit) leave(err error) {
	g := v.gate
	g.mu.Lock()
	admitted := v.id != ID{}
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
		v.why = refusedOther
	case admitted && errors.Is(err, peer.ErrRefused):
		v.why = refusedParams
	case !admitted && g.node.ctx.Err() == nil:
		v.why = refusedGreeting
	default:
		return
	}
	g.refused[v.why].Add(1)
}

// viewChanged closes the connections of those that would not be admitted now.
func (g *gate) viewChanged() {
	var all []*visit
	g.mu.Lock()
	for _, visits := range g.members {
		all = append(all, visits...)
	}
	g.mu.Unlock()
	for _, v := range all {
		if g.node.gossip.admits(v.id, "", v.from) != "" {
			v.end()
		}
	}
}

// admits says whether a boot may connect from an address, "" for yes. One that
// gossip holds for dead may be frozen or cut off, and comes back by connecting;
// unless its host has said that the process has ended.
func (n *Node) admits(id ID, role Role, from netip.Addr) refusal {
	why := n.gossip.admits(id, role, from)
	if why == "" && !n.gossip.isAlive(id) && n.members.isGone(id) {
		return refusedEnded
	}
	return why
}

// admits is what gossip alone says. Role "" is any.
func (g *gossip) admits(id ID, role Role, from netip.Addr) refusal {
	g.mu.Lock()
	defer g.mu.Unlock()
	h, known := g.heard[id.String()]
	switch {
	case !known, role != "" && h.Meta.Role != role:
		return refusedStranger
	case h.Left && !h.Alive:
		return refusedEnded
	case !h.isAt(from):
		return refusedAddress
	default:
		return ""
	}
}

func (g *gossip) isAlive(id ID) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.heard[id.String()].Alive
}

// hasAddress says whether some member is at an address.
func (g *gossip) hasAddress(from netip.Addr) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, h := range g.heard {
		if h.isAt(from) {
			return true
		}
	}
	return false
}

// isAt says whether the member's peer port is at an address, or its gossip: a
// router has no peer port, and a member may advertise a name for its own.
func (h *heard) isAt(from netip.Addr) bool {
	return from.IsValid() && (ipOf(h.Meta.Peer) == from || ipOf(h.Gossip) == from)
}

// ipOf is the address in a host:port, invalid where the host is a name.
func ipOf(address string) netip.Addr {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return netip.Addr{}
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Addr{}
	}
	return ip.Unmap().WithZone("")
}

func addrOf(a net.Addr) netip.Addr { return ipOf(a.String()) }

// dialPeer connects to a peer port, from the address that others know this
// member by.
func (n *Node) dialPeer(ctx context.Context, address string) (net.Conn, error) {
	own := ipOf(n.cfg.Peer)
	if n.cfg.Role == RoleRouter {
		own = ipOf(n.cfg.Gossip)
	}
	to := ipOf(address)
	if own.IsValid() && !own.IsUnspecified() && own.Is4() == to.Is4() && own.IsLoopback() == to.IsLoopback() {
		ctx = withSource(ctx, own)
	}
	return n.cfg.Network.Dial(ctx, address)
}
