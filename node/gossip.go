package node

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
	"golang.org/x/sync/errgroup"

	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/planted"
	"github.com/seed-95a32959/holdfast/internal/wait"
)

// Timing of gossip, measured in virtual time: a crash is seen by all members
// in 1.0 s at the median and 1.4 s at the 95th percentile; memberlist's LAN
// defaults need 5 to 7 s, and faster settings declare frozen members dead too
// often. Failover does not wait for it, see link.go.
const (
	probeInterval   = 200 * time.Millisecond
	probeTimeout    = 100 * time.Millisecond
	suspicionMult   = 4
	suspicionMax    = 6
	pushPull        = 5 * time.Second
	gossipInterval  = 50 * time.Millisecond
	gossipTCP       = 2 * time.Second
	rejoinFirst     = 100 * time.Millisecond
	rejoinInterval  = 3 * time.Second
	lonelyWarn      = 2 * time.Second
	noNodeWarn      = 5 * time.Second
	rememberedPeers = 1024
	rejoinAtOnce    = 8
)

// heard is the newest that gossip said of one boot of a member.
type heard struct {
	ID     ID
	Meta   Meta
	Gossip string // host:port
	Alive  bool
	Left   bool // it said good-bye; otherwise it was found dead
	Since  time.Time
}

// gossip is this member's part in memberlist. Its callbacks run under
// memberlist's locks, so all they do is copy into heard and wake the
// membership loop.
type gossip struct {
	list    *memberlist.Memberlist
	filter  *filter
	refused gossipRefusals
	log     *slog.Logger
	self    ID
	addr    string // this member's own gossip address
	now     func() time.Time
	wake    wait.Wake

	mu     sync.Mutex // guards what follows
	meta   []byte
	params string
	heard  map[string]heard // by gossip name
}

func startGossip(cfg Config, self ID, meta Meta, log *slog.Logger) (*gossip, error) {
	encoded, err := meta.Encode()
	if err != nil {
		return nil, err
	}
	g := &gossip{
		log: log, self: self, now: cfg.Now, wake: wait.NewWake(),
		meta: encoded, params: meta.Params, heard: make(map[string]heard),
	}
	mc, err := g.config(cfg)
	if err != nil {
		return nil, err
	}
	if g.list, err = memberlist.Create(mc); err != nil {
		_ = g.filter.Shutdown() // whatever it says, the first error counts
		return nil, cannotListen("tcp", "gossip", cfg.Gossip, err)
	}
	g.addr = g.list.LocalNode().Address() // read once: memberlist writes its node when the metadata changes
	return g, nil
}

func (g *gossip) config(cfg Config) (*memberlist.Config, error) {
	host, port, err := net.SplitHostPort(cfg.Gossip)
	if err != nil {
		return nil, fieldError("gossip", cfg.Gossip, "must be host:port")
	}
	mc := memberlist.DefaultLANConfig()
	mc.Name = g.self.String()
	mc.Label = cfg.Cluster
	mc.BindAddr = host
	if host == "localhost" {
		mc.BindAddr = "127.0.0.1"
	}
	if mc.BindPort, err = strconv.Atoi(port); err != nil {
		return nil, fieldError("gossip", cfg.Gossip, "the port must be a number")
	}
	mc.AdvertisePort = mc.BindPort
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		mc.AdvertiseAddr = cfg.Advertise
	}
	mc.ProbeInterval, mc.ProbeTimeout = probeInterval, probeTimeout
	mc.SuspicionMult, mc.SuspicionMaxTimeoutMult = suspicionMult, suspicionMax
	mc.PushPullInterval, mc.GossipInterval, mc.TCPTimeout = pushPull, gossipInterval, gossipTCP
	mc.EnableCompression = false
	mc.Delegate, mc.Events, mc.Alive, mc.Merge = g, g, g, g
	mc.Logger = log.New(&logWriter{log: g.log, cluster: cfg.Cluster, refused: &g.refused}, "", 0)
	if len(cfg.GossipKeys) > 0 {
		if mc.Keyring, err = memberlist.NewKeyring(cfg.GossipKeys[1:], cfg.GossipKeys[0]); err != nil {
			return nil, fmt.Errorf("-gossip-key-file: %w", err)
		}
		mc.GossipVerifyIncoming, mc.GossipVerifyOutgoing = true, true
	}
	if g.filter, err = newFilter(mc, cfg, &g.refused); err != nil {
		return nil, cannotListen("tcp", "gossip", cfg.Gossip, err)
	}
	mc.Transport = g.filter
	return mc, nil
}

// announce changes what this member says of itself.
func (g *gossip) announce(meta Meta) error {
	encoded, err := meta.Encode()
	if err != nil {
		return err
	}
	g.mu.Lock()
	g.meta = encoded
	g.mu.Unlock()
	// UpdateNode's only failure is that the broadcast has not left in time;
	// it stays queued and goes out with the next round.
	if err := g.list.UpdateNode(time.Second); err != nil {
		g.log.Debug("announce", "error", err)
	}
	return nil
}

func (g *gossip) snapshot() []heard {
	g.mu.Lock()
	defer g.mu.Unlock()
	all := make([]heard, 0, len(g.heard))
	for _, h := range g.heard {
		all = append(all, h)
	}
	return all
}

// forget drops what is known of boots that ended before the given time.
func (g *gossip) forget(before time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for name, h := range g.heard {
		if !h.Alive && h.Since.Before(before) {
			delete(g.heard, name)
		}
	}
}

// NodeMeta implements memberlist.Delegate.
func (g *gossip) NodeMeta(int) []byte {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.meta
}

// NotifyMsg, GetBroadcasts, LocalState and MergeRemoteState implement
// memberlist.Delegate; nothing but metadata travels by gossip.
func (g *gossip) NotifyMsg([]byte)                {}
func (g *gossip) GetBroadcasts(int, int) [][]byte { return nil }
func (g *gossip) LocalState(bool) []byte          { return nil }
func (g *gossip) MergeRemoteState([]byte, bool)   {}

// NotifyAlive implements memberlist.AliveDelegate: a member that cannot work
// in this cluster is not taken for one.
func (g *gossip) NotifyAlive(n *memberlist.Node) error { return g.check(n) }

// NotifyMerge implements memberlist.MergeDelegate: a member that does not fit
// must not join, and is told why.
func (g *gossip) NotifyMerge(nodes []*memberlist.Node) error {
	for _, n := range nodes {
		if err := g.check(n); err != nil {
			return err
		}
	}
	return nil
}

func (g *gossip) check(n *memberlist.Node) error {
	if n.Name == g.self.String() {
		return nil
	}
	id, err := member.ParseID(n.Name)
	if err != nil {
		return err
	}
	meta, err := member.DecodeMeta(n.Meta)
	if err != nil {
		return fmt.Errorf("member %s: %w", id.Name, err)
	}
	return member.CheckParams(g.params, meta.Params, id.Name)
}

// NotifyJoin, NotifyUpdate and NotifyLeave implement memberlist.EventDelegate.
func (g *gossip) NotifyJoin(n *memberlist.Node)   { g.note(n, true) }
func (g *gossip) NotifyUpdate(n *memberlist.Node) { g.note(n, true) }
func (g *gossip) NotifyLeave(n *memberlist.Node)  { g.note(n, false) }

func (g *gossip) note(n *memberlist.Node, alive bool) {
	id, err := member.ParseID(n.Name)
	if err != nil {
		return // refused by check already
	}
	if id == g.self {
		return // this member knows itself better
	}
	h := heard{ID: id, Gossip: n.Address(), Alive: alive, Left: n.State == memberlist.StateLeft, Since: g.now()}
	g.mu.Lock()
	if h.Meta, err = member.DecodeMeta(n.Meta); err != nil {
		h.Meta = g.heard[n.Name].Meta
	}
	g.heard[n.Name] = h
	g.mu.Unlock()
	g.wake.Kick()
}

// join contacts the given addresses once and returns how many answered.
func (g *gossip) join(addresses []string) (int, error) {
	n, err := g.list.Join(addresses)
	if err != nil {
		return n, fmt.Errorf("join %s: %s", strings.Join(addresses, ","), flatten(err))
	}
	return n, nil
}

// rejoin contacts, every few seconds, the seeds and every member ever seen
// that gossip does not know as alive. memberlist itself forgets the dead after
// 30 s and would never mend a longer partition. Seeds are resolved anew each time.
func (g *gossip) rejoin(ctx context.Context, seeds []string) {
	if planted.Is(planted.NoRejoin) {
		return
	}
	seen := make(map[string]struct{})
	var last error
	lonely, warned := time.Duration(0), false
	for pause := rejoinFirst; ; {
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause + rand.N(pause/2)):
		}
		lonely += pause
		alive := make(map[string]bool)
		for _, h := range g.snapshot() {
			alive[h.Gossip] = alive[h.Gossip] || h.Alive
			if len(seen) < rememberedPeers {
				seen[h.Gossip] = struct{}{}
			}
		}
		var missing []string
		for address := range seen {
			if !alive[address] {
				missing = append(missing, address)
			}
		}
		for _, seed := range seeds {
			if !alive[seed] && !g.isSelf(seed) {
				missing = append(missing, seed)
			}
		}
		if err := g.joinEach(ctx, missing); err != nil {
			last = err
		}
		// A member that knows nobody tries often at first: the seeds may be
		// starting at this moment.
		switch {
		case slices.ContainsFunc(g.snapshot(), func(h heard) bool { return h.Alive }):
			pause, lonely, warned = rejoinInterval, 0, false
		case len(seeds) > 0:
			pause = min(2*pause, rejoinInterval)
			if lonely > lonelyWarn && !warned && last != nil {
				warned = true
				g.log.Warn("no seed answers; going on alone, and trying again every few seconds: is it a -gossip address, and are -cluster and -gossip-key-file the same there?", "error", last)
			}
		default:
			pause = rejoinInterval
		}
	}
}

// warnOfNoNode warns, once, of a router that was told of no member to join and
// that none has joined: it would refuse all requests for ever.
func (n *Node) warnOfNoNode(ctx context.Context) {
	select {
	case <-ctx.Done():
		return
	case <-time.After(noNodeWarn):
	}
	if len(n.View().Nodes()) == 0 {
		n.log.Warn("no node is known, so every request is answered 503: give -join the -gossip address of a member, or start nodes that join this router")
	}
}

// joinEach contacts every address by itself, for one that is dead costs two
// seconds: a few at a time. It returns the last error.
func (g *gossip) joinEach(ctx context.Context, addresses []string) (last error) {
	var mu sync.Mutex // guards last
	var group errgroup.Group
	group.SetLimit(rejoinAtOnce)
	for _, address := range addresses {
		if ctx.Err() != nil {
			break
		}
		group.Go(func() error {
			n, err := g.join([]string{address})
			switch {
			case n > 0 && err == nil:
				g.log.Debug("rejoined", "address", address)
			case err != nil:
				mu.Lock()
				defer mu.Unlock()
				last = err
			}
			return nil
		})
	}
	_ = group.Wait() // none returns an error
	return last
}

// isSelf says whether a seed is this member's own address, which every member
// of a cluster with one list of seeds finds in it.
func (g *gossip) isSelf(address string) bool {
	return address == g.addr
}

// leave says good-bye, so that the others need not find out.
func (g *gossip) leave() {
	if err := g.list.Leave(time.Second); err != nil {
		g.log.Debug("leave", "error", err)
	}
}

// shutdown ends gossip. memberlist does not wait for its goroutines.
func (g *gossip) shutdown() {
	if err := g.list.Shutdown(); err != nil {
		g.log.Debug("gossip shutdown", "error", err)
	}
}

// strangerWarn is how often, at most, a member says that one of another cluster
// has called: that one tries again every few seconds.
const strangerWarn = time.Minute

// logWriter passes memberlist's lines on as details; what it calls an error is
// daily life for a cluster whose members come and go. Only a member of another
// cluster is a warning, for it is told no reason: its connection is closed.
type logWriter struct {
	log     *slog.Logger
	cluster string
	refused *gossipRefusals

	mu     sync.Mutex // guards what follows
	warned time.Time
}

func (w *logWriter) Write(p []byte) (int, error) {
	line := strings.TrimSpace(string(p))
	for _, tag := range []string{"[DEBUG]", "[INFO]", "[WARN]", "[ERR]"} {
		if rest, ok := strings.CutPrefix(line, tag); ok {
			line = strings.TrimPrefix(strings.TrimSpace(rest), "memberlist: ")
			break
		}
	}
	w.log.Debug(line, "from", "gossip")
	w.refused.logged(line)
	if rest, ok := strings.CutPrefix(line, "discarding stream with unacceptable label "); ok {
		w.stranger(rest)
	}
	return len(p), nil
}

// stranger warns of a member of another cluster, of which memberlist says its
// name in quotes and its address.
func (w *logWriter) stranger(who string) {
	quoted, err := strconv.QuotedPrefix(who)
	if err != nil || quoted == `""` {
		return // every cluster has a name: this was no member
	}
	w.mu.Lock()
	due := w.warned.IsZero() || time.Since(w.warned) >= strangerWarn
	if due {
		w.warned = time.Now()
	}
	w.mu.Unlock()
	if !due {
		return
	}
	theirs, _ := strconv.Unquote(quoted) // it is a prefix that is quoted
	w.log.Warn("a member of another cluster tried to join and was refused; members of one cluster have the same -cluster",
		"cluster", w.cluster, "theirs", theirs, "address", strings.TrimPrefix(who[len(quoted):], ": from="))
}

var _ io.Writer = (*logWriter)(nil)

// flatten puts an error of several lines into one.
func flatten(err error) string {
	lines := strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' })
	for i, line := range lines {
		lines[i] = strings.TrimLeft(strings.TrimSpace(line), "* ")
	}
	return strings.Join(lines, " ")
}
