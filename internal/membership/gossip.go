package membership

import (
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
	"golang.org/x/time/rate"

	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/wait"
)

// Timing of gossip, measured in virtual time: a crash is seen by all members
// in 1.0 s at the median and 1.4 s at the 95th percentile; memberlist's LAN
// defaults need 5 to 7 s, and faster settings declare frozen members dead too
// often. Failover does not wait for it, see internal/mesh.
const (
	probeInterval  = 200 * time.Millisecond
	probeTimeout   = 100 * time.Millisecond
	suspicionMult  = 4
	suspicionMax   = 6
	pushPull       = 5 * time.Second
	gossipInterval = 50 * time.Millisecond
	gossipTCP      = 2 * time.Second
	lonelyWarn     = 2 * time.Second
	rejoinAtOnce   = 8
)

// heard is the newest that gossip said of one boot of a member.
type heard struct {
	ID     member.ID
	Meta   member.Meta
	Gossip string // host:port
	Alive  bool
	Left   bool // it said good-bye; otherwise it was found dead
	Since  time.Time
	Pinged time.Duration // when it last answered a packet, since the process's start; 0 for never
}

// gossip is this member's part in memberlist. Its callbacks run under
// memberlist's locks, so all they do is copy into heard and wake the
// membership loop.
type gossip struct {
	list    *memberlist.Memberlist
	filter  *filter
	refused gossipRefusals
	log     *slog.Logger
	self    member.ID
	addr    string // this member's own gossip address
	now     func() time.Time
	since   func() time.Duration
	wake    wait.Wake

	mu      sync.Mutex // guards what follows
	meta    []byte
	params  string
	mode    string // ours, as Meta.Mode
	joining bool
	heard   map[string]heard // by gossip name
	// elder are the parameters of the eldest member that is too old to follow
	// this one's, and takes it with its own alone; elderBoot is that one.
	elder, elderBoot string
}

func startGossip(cfg *Config, meta member.Meta) (*gossip, error) {
	g := &gossip{
		log: cfg.Log, self: cfg.Self, now: cfg.Clock.Now, since: cfg.Clock.Since, wake: wait.NewWake(), heard: make(map[string]heard),
	}
	if err := g.setMeta(meta); err != nil {
		return nil, err
	}
	mc, err := g.config(cfg)
	if err != nil {
		return nil, err
	}
	if g.list, err = memberlist.Create(mc); err != nil {
		_ = g.filter.Shutdown() // whatever it says, the first error counts
		return nil, cfg.CannotListen(err)
	}
	g.addr = g.list.LocalNode().Address() // read once: memberlist writes its node when the metadata changes
	return g, nil
}

func (g *gossip) config(cfg *Config) (*memberlist.Config, error) {
	host, port, err := net.SplitHostPort(cfg.Address)
	if err != nil {
		return nil, fmt.Errorf("gossip address %q: must be host:port", cfg.Address)
	}
	mc := memberlist.DefaultLANConfig()
	mc.Name = g.self.String()
	mc.Label = cfg.Cluster
	mc.BindAddr = host
	if host == "localhost" {
		mc.BindAddr = "127.0.0.1"
	}
	if mc.BindPort, err = strconv.Atoi(port); err != nil {
		return nil, fmt.Errorf("gossip address %q: the port must be a number", cfg.Address)
	}
	mc.AdvertisePort = mc.BindPort
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		mc.AdvertiseAddr = cfg.Advertise
	}
	mc.ProbeInterval, mc.ProbeTimeout = probeInterval, probeTimeout
	mc.SuspicionMult, mc.SuspicionMaxTimeoutMult = suspicionMult, suspicionMax
	mc.PushPullInterval, mc.GossipInterval, mc.TCPTimeout = pushPull, gossipInterval, gossipTCP
	mc.EnableCompression = false
	mc.Delegate, mc.Events, mc.Alive, mc.Merge, mc.Ping = g, g, g, g, g
	mc.Logger = log.New(newLogWriter(g.log, cfg.Cluster, &g.refused), "", 0)
	if len(cfg.Keys) > 0 {
		if mc.Keyring, err = memberlist.NewKeyring(cfg.Keys[1:], cfg.Keys[0]); err != nil {
			return nil, fmt.Errorf("gossip keys: %w", err)
		}
		mc.GossipVerifyIncoming, mc.GossipVerifyOutgoing = true, true
	}
	if g.filter, err = newFilter(mc, cfg, &g.refused); err != nil {
		return nil, cfg.CannotListen(err)
	}
	mc.Transport = g.filter
	return mc, nil
}

// setMeta changes what this member says of itself, once it is announced. Before
// gossip has started it does nothing.
func (g *gossip) setMeta(meta member.Meta) error {
	if g == nil {
		return nil
	}
	encoded, err := meta.Encode()
	if err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.meta, g.params, g.mode, g.joining = encoded, meta.Params, meta.Mode, meta.State == member.StateJoining
	return nil
}

// announce tells the others what setMeta was given last.
func (g *gossip) announce() {
	// UpdateNode's only failure is that the broadcast has not left in time;
	// it stays queued and goes out with the next round.
	if err := g.list.UpdateNode(time.Second); err != nil {
		g.log.Debug("announce", "error", err)
	}
}

// snapshot is what gossip knows of the others: nothing before it has started.
func (g *gossip) snapshot() []heard {
	if g == nil {
		return nil
	}
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
	var first error
	for _, n := range nodes { // all of them, for what check learns
		if err := g.check(n); first == nil {
			first = err
		}
	}
	return first
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
	g.mu.Lock()
	defer g.mu.Unlock()
	// One that ends does not stand in the way of the one that follows it.
	ends := n.State == memberlist.StateLeft || n.State == memberlist.StateDead || meta.State == member.StateLeaving
	older := !meta.Speaks(member.WireParams) && !ends
	err = member.CheckParams(g.params, meta.Params, id.Name, older)
	if err == nil && !ends {
		err = member.CheckMode(g.mode, meta.Mode, id.Name)
	}
	if err != nil && older && g.joining && (g.elderBoot == "" || id.Boot < g.elderBoot) {
		g.elder, g.elderBoot = meta.Params, id.Boot
	}
	return err
}

// elderParams returns the parameters of the members that have refused this one
// for its own, once; "" for none.
func (g *gossip) elderParams() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	params := g.elder
	g.elder, g.elderBoot = "", ""
	return params
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
	h.Pinged = g.heard[n.Name].Pinged
	g.heard[n.Name] = h
	g.mu.Unlock()
	g.wake.Kick()
}

// AckPayload implements memberlist.PingDelegate; nothing travels by it.
func (g *gossip) AckPayload() []byte { return nil }

// NotifyPingComplete implements memberlist.PingDelegate: gossip passes.
func (g *gossip) NotifyPingComplete(n *memberlist.Node, _ time.Duration, _ []byte) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if h, known := g.heard[n.Name]; known {
		h.Pinged = g.since()
		g.heard[n.Name] = h
	}
}

// join contacts the given addresses once and returns how many answered.
func (g *gossip) join(addresses []string) (int, error) {
	n, err := g.list.Join(addresses)
	if err != nil {
		return n, fmt.Errorf("join %s: %s", strings.Join(addresses, ","), flatten(err))
	}
	return n, nil
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
	warn    rate.Sometimes // of a member of another cluster
}

func newLogWriter(log *slog.Logger, cluster string, refused *gossipRefusals) *logWriter {
	return &logWriter{log: log, cluster: cluster, refused: refused, warn: rate.Sometimes{Interval: strangerWarn}}
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
	theirs, _ := strconv.Unquote(quoted) // it is a prefix that is quoted
	w.warn.Do(func() {
		w.log.Warn("a member of another cluster tried to join and was refused; members of one cluster have the same -cluster",
			"cluster", w.cluster, "theirs", theirs, "address", strings.TrimPrefix(who[len(quoted):], ": from="))
	})
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

// admits is what gossip alone says. Role "" is any.
func (g *gossip) admits(id member.ID, role member.Role, from netip.Addr) member.Refusal {
	g.mu.Lock()
	defer g.mu.Unlock()
	h, known := g.heard[id.String()]
	switch {
	case !known, role != "" && h.Meta.Role != role:
		return member.Stranger
	case h.Left && !h.Alive:
		return member.Ended
	case !h.isAt(from):
		return member.OtherAddress
	default:
		return ""
	}
}

func (g *gossip) isAlive(id member.ID) bool {
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
	return from.IsValid() && (member.IPOf(h.Meta.Peer) == from || member.IPOf(h.Gossip) == from)
}
