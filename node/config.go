package node

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/seed-95a32959/holdfast/internal/door/app"
	"github.com/seed-95a32959/holdfast/internal/fields"
	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/network"
	"github.com/seed-95a32959/holdfast/internal/ownership"
	"github.com/seed-95a32959/holdfast/internal/persist"
	"github.com/seed-95a32959/holdfast/internal/snapshot"
	"github.com/seed-95a32959/holdfast/internal/upstream"
	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/session"
)

// PartitionMode says what an owner does that cannot reach the others.
type PartitionMode = ownership.Mode

const (
	// PartitionAvailable serves on, and marks its answers as degraded. When
	// the network heals, both sides' writes are merged.
	PartitionAvailable = ownership.Available
	// PartitionMajority refuses unless it reaches a majority of the nodes that
	// the cluster last had, so at most one side serves.
	PartitionMajority = ownership.Majority
)

// Config says how a member runs. A zero field means the default named beside
// it; [Start] fills it in and refuses what cannot work.
type Config struct {
	// Name is the member's name on the ring. It keeps its partitions across
	// restarts, so it must be stable and unique. Default: the host's name.
	Name string
	// Cluster keeps clusters apart that share a network. Default: "holdfast".
	Cluster string
	// Role is RoleNode (default) or RoleRouter.
	Role Role
	// Zone is where the member runs, such as a rack or a building that fails as
	// a whole. Once every node of the cluster states one and two of them
	// differ, each session has copies in two zones. Default: none stated.
	Zone string
	// Weight is the node's share of the sessions beside that of others: one of
	// weight 2 owns twice as many as one of weight 1. 0.1 to 10 in steps of
	// 0.01, default 1. It counts once every member is of a version that knows
	// of it. A router has none.
	Weight float64

	// HTTP is the public endpoint, Admin the operator's, Peer the members' own
	// and Gossip the address of membership (UDP and TCP), each as host:port.
	// Defaults: 127.0.0.1 with ports 8080, 8081, 8083 and 8084. A router has no
	// Peer.
	HTTP, Admin, Peer, Gossip string
	// RESP is the address of the Redis endpoint. Default: none, and it is
	// closed.
	RESP string
	// Advertise is the host that others are told to use for every address
	// whose own host is a wildcard. Default: the host of Peer, or of Gossip,
	// where it is an IP address that others can use; else the first private
	// IPv4 address, or the first other one.
	Advertise string
	// Join lists gossip addresses of members, host:port; it may be the same on
	// all of them, with their own. A host name is resolved anew at each
	// attempt. A node that has it owns nothing before it has joined a cluster,
	// or has founded one: see Expect.
	Join []string
	// Expect is how many nodes that see each other found a cluster where none
	// of them knows of one. It should be more than half of all that there are,
	// so that two halves do not found two. Default: more than half of the
	// addresses in Join and this node's own, so 1 without Join. Where Join has
	// one host name for many nodes, it must be given.
	Expect int
	// FoundAfter is how long a node that sees nobody, and that is enough to
	// found a cluster, waits before it does. It may have been started anew in
	// its place, and the others know its address, to which they come back
	// within that time if it was away for less than a minute; alone it would
	// answer that there are no sessions. It answers 503 meanwhile. Default 1 s
	// where Expect is not given, otherwise none, for it was said that one
	// node suffices; below 0 none.
	FoundAfter time.Duration

	// Copies is how many nodes hold each session, the owner among them, 1 to 16,
	// VirtualNodes how many points a node of weight 1 has on the hash circle, 1
	// to 1000, and Load what one may own at most, as a multiple of its share by
	// weight, over 1. 0 is what the cluster has; one that is founded begins with
	// 2, 400 and 1.10. The cluster takes another value once all its nodes ask
	// for it: so a rolling restart changes it. A router follows the nodes.
	Copies       int
	VirtualNodes int
	Load         float64
	wants        ring.Params // these three as they were given

	// Ack is what a write waits for where the request does not say.
	// Default: session.AckAsync.
	Ack session.Ack
	// PartitionMode is what an owner does that cannot reach the others.
	// Default: PartitionAvailable.
	PartitionMode PartitionMode
	// TTL is the idle time of a session whose writer gives none. Default 30m.
	TTL time.Duration
	// MaxSession bounds a session in bytes. Default 1 MiB.
	MaxSession int
	// MemoryLimit bounds the bytes held for sessions, copies included: what
	// would make them more is refused. Tombstones and copies on their way may
	// take 15 % beside it. Default 0: no limit. Go's own limit for the process
	// (debug.SetMemoryLimit) is the program's to set.
	MemoryLimit int64

	// DataDir is a directory, of this node alone, in which it keeps its sessions
	// on the disk too: those that it owns, and its copies. It is made if it is not
	// there. When all nodes have ended, and start again, the sessions are there.
	// Default: none.
	DataDir string
	// Fsync says when what is written there is made sure to be on the disk:
	// "everysec", once a second, so that a loss of power loses up to that;
	// "always", before a write is acknowledged; "no", when the operating system
	// likes. The end of the process loses what was acknowledged in its last 50 ms
	// at most, and nothing with "always". Default: everysec.
	Fsync string
	// StartWait is how long a node that has sessions on its disk waits, from its
	// start on, for all nodes that it knew when it last ran, before it founds a
	// cluster without them: what they have may be newer. It answers 503
	// meanwhile. A cluster that runs is joined at once. Default 30s; below 0
	// none.
	StartWait time.Duration
	// SnapshotEvery is how often a copy of what is in DataDir is made there, in
	// snapshots/ and a directory named by the time in UTC: 1s or more. The last two
	// are kept. A node starts from such a copy as from its own directory. Default
	// 0: never.
	SnapshotEvery time.Duration
	// SnapshotExec is a program and its arguments, split at white space alone, to
	// be run on each snapshot, whose path is the last argument and in the
	// environment as HOLDFAST_SNAPSHOT. It has until the next snapshot is due, and
	// is stopped with the node. Default: none.
	SnapshotExec string
	// Files is the directory itself, in place of DataDir: for tests.
	Files Files

	// Upstream is the Redis that had the sessions before, as
	// redis://[user:password@]host[:port][/db], or rediss:// for TLS: what is
	// asked for here and has never been here is taken over from it, and what
	// ends here is deleted there. Give it to all nodes. A router has none.
	// Default: none.
	Upstream string
	// UpstreamPassword is the password of that Redis, and comes before the
	// URL's. Default: the URL's.
	UpstreamPassword string
	// UpstreamTLS is how a rediss:// Upstream is trusted. Default: as the system
	// trusts.
	UpstreamTLS *tls.Config

	// HTTPUnix is the path of a Unix socket on which the public endpoint is
	// open too, for programs on this host. Default: none.
	HTTPUnix string
	// HTTPMaxClients bounds the connections to the public endpoint. Default
	// 10,000.
	HTTPMaxClients int
	// HTTPMaxPerAddress bounds those of them that come from one address, or one
	// IPv6 network of 64 bits: a client, or the routers or the proxy before
	// many. Default: half of HTTPMaxClients.
	HTTPMaxPerAddress int
	// RESPUnix is the path of a Unix socket on which the Redis endpoint is open
	// too, for programs on this host. Default: none.
	RESPUnix string
	// RESPPassword is what clients of the Redis endpoint must AUTH with.
	// Default: none is asked for.
	RESPPassword string
	// RESPRedirect answers MOVED for keys that other nodes own, where the Redis
	// endpoint would forward.
	RESPRedirect bool
	// RESPAllowFlush runs FLUSHDB and FLUSHALL, which end every session and are
	// refused otherwise.
	RESPAllowFlush bool
	// RESPRefuseRevive refuses commands that would bring a string or a hash
	// back that was deleted less than so long ago, unless they are to create it
	// (NX). Default 0: as in Redis, they create whatever was there.
	RESPRefuseRevive time.Duration
	// RESPMaxClients bounds the connections to the Redis endpoint. Default
	// 10,000.
	RESPMaxClients int
	// RESPMaxClientsPerAddress bounds the connections to the Redis endpoint
	// from one address (of IPv6: from one network of 64 bits). Default: a
	// quarter of RESPMaxClients, at least 64.
	RESPMaxClientsPerAddress int
	// RESPIdleTimeout closes connections to the Redis endpoint that send
	// nothing. Default 0: none.
	RESPIdleTimeout time.Duration

	// App is where the application listens that gets every request outside
	// /v1/: http://host:port, https://host:port or unix:/path.
	App string
	// AppHealth is the path that App answers with 2xx or 3xx while it is well.
	// Default: none; it is well while it takes connections.
	AppHealth string
	// Demo serves a visit counter where App would be.
	Demo bool
	// Handler is the application in this program, in place of App. It runs at
	// its user's owner, with the user's session in its context: see package
	// holdfast, and [Node.Handler] to serve it at further addresses. A router
	// needs none.
	Handler http.Handler
	// UserHeader names the user in requests from Trust. Default X-User-ID.
	UserHeader string
	// Cookie is the name of the affinity cookie. Default: "holdfast".
	Cookie string
	// Trust lists the proxies whose UserHeader, X-Forwarded-For and the like
	// count. Default: loopback. Members prove what they pass on by Secret, or
	// by the gossip key, and not by their addresses.
	Trust []netip.Prefix
	// TrustHeaders are further headers that Trust may set, of those that say
	// who a client is, such as X-Forwarded-Email or True-Client-IP. Without
	// being named here they reach the application from nobody.
	TrustHeaders []string
	// NoAPI makes a router answer 404 under /v1/. Whoever reaches the session
	// API may read and write every session whose id they know, and users know
	// their own: it is in the cookie, signed and not hidden.
	NoAPI bool
	// CookieSecure says that users come over TLS: the cookie is marked Secure
	// and bound to its host by the prefix __Host-.
	CookieSecure bool
	// Secret signs the affinity cookie, and the requests that members pass on
	// to each other: all members have the same, or none has one. 16 bytes or
	// more. Default: random for cookies, so they end with the process; and what
	// members pass on is signed by the gossip key or, without one, by what
	// gossip tells.
	Secret []byte
	// OldSecrets have signed cookies that are still believed, and replaced by
	// ones that Secret signs.
	OldSecrets [][]byte

	// GossipKeys encrypts gossip: the first key encrypts, all of them decrypt.
	// 16, 24 or 32 bytes each.
	GossipKeys [][]byte
	// Insecure allows gossip, peer, Redis and admin addresses that others can
	// reach although nothing protects them.
	Insecure bool

	// HTTPHosts lists further names by which clients reach the session API at
	// the public endpoint, such as that of a site or of a service. Without:
	// localhost, IP addresses, Name and the hosts of HTTP and Advertise. The
	// application gets requests for any name.
	HTTPHosts []string
	// AdminHosts lists further names by which clients reach the operator's
	// endpoint, such as that of a proxy before it. Without: localhost, IP
	// addresses, Name and the hosts of Admin and Advertise.
	AdminHosts []string
	// Control, if not nil, answers /admin/dev/ at the operator's endpoint: the
	// buttons that kill and start members, which only "holdfast dev" can do.
	Control http.Handler

	// DrainTimeout bounds how long Shutdown hands sessions over. Default 60s.
	DrainTimeout time.Duration
	// Log gets what operators should know. Default: discarded.
	Log *slog.Logger

	// Network makes every connection of the member. Default: the host's.
	Network Network
	// Now is the clock of the host, which tells the time of day. Where it jumps,
	// the member goes on by the monotonic clock. Default: time.Now.
	Now func() time.Time
}

// withDefaults returns the configuration with every zero field filled in.
func (c Config) withDefaults() (Config, error) {
	if c.Name == "" {
		host, err := os.Hostname()
		if err != nil {
			return c, &FieldError{Field: "Name", Reason: "none given and the host has none: " + err.Error(), Err: err}
		}
		c.Name = host
	}
	c.Cluster = cmp.Or(c.Cluster, "holdfast")
	c.Role = cmp.Or(c.Role, RoleNode)
	c.PartitionMode = cmp.Or(c.PartitionMode, PartitionAvailable)
	c.HTTP = cmp.Or(c.HTTP, "127.0.0.1:8080")
	c.Admin = cmp.Or(c.Admin, "127.0.0.1:8081")
	c.Gossip = cmp.Or(c.Gossip, "127.0.0.1:8084")
	if c.Role == RoleNode {
		c.Peer = cmp.Or(c.Peer, "127.0.0.1:8083")
	}
	c.UserHeader = cmp.Or(c.UserHeader, "X-User-ID")
	c.Cookie = cmp.Or(c.Cookie, "holdfast")
	c.Weight = cmp.Or(c.Weight, 1)
	c.wants = c.ringParams()
	c.Copies = cmp.Or(c.Copies, 2)
	c.VirtualNodes = cmp.Or(c.VirtualNodes, 400)
	c.Load = cmp.Or(c.Load, 1.10)
	c.Ack = cmp.Or(c.Ack, session.AckAsync)
	c.Fsync = cmp.Or(c.Fsync, persist.EverySecond.String())
	c.TTL = cmp.Or(c.TTL, 30*time.Minute)
	c.MaxSession = cmp.Or(c.MaxSession, 1<<20)
	c.HTTPMaxClients = cmp.Or(c.HTTPMaxClients, 10_000)
	c.HTTPMaxPerAddress = cmp.Or(c.HTTPMaxPerAddress, max(1, c.HTTPMaxClients/2))
	c.DrainTimeout = cmp.Or(c.DrainTimeout, time.Minute)
	c.Log = cmp.Or(c.Log, slog.New(slog.DiscardHandler))
	c.Network = cmp.Or[Network](c.Network, network.Host{})
	if c.Trust == nil {
		c.Trust = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	}
	return c, nil
}

// nameRule is what [member.ValidName] accepts.
const nameRule = "must be 1 to 64 letters, digits, dots, dashes or underscores, a letter or digit first and last"

// validate reports everything that is wrong at once, so that one run is enough
// to mend a command line. Its errors are [FieldError]s.
func (c Config) validate() error {
	isNode := c.Role == RoleNode
	problems := slices.Concat(
		fields.Check(member.ValidName(c.Name), "Name", c.Name, nameRule),
		fields.Check(member.ValidName(c.Cluster), "Cluster", c.Cluster, nameRule),
		fields.Either("Role", c.Role, RoleNode, RoleRouter),
		fields.Either("PartitionMode", c.PartitionMode, PartitionAvailable, PartitionMajority),
		fields.Check(c.hundredths() >= ring.LeastWeight && c.hundredths() <= ring.MostWeight && math.Abs(float64(c.hundredths())-100*c.Weight) < 1e-6,
			"Weight", c.Weight, "must be 0.1 to 10 in steps of 0.01"),
		fields.Range("Copies", c.Copies, 1, 16),
		fields.Range("VirtualNodes", c.VirtualNodes, 1, 1000),
		fields.Check(c.Load > 1 && !math.IsInf(c.Load, 0), "Load", c.Load, "must be over 1, such as 1.1"),
		fields.AtLeast("TTL", c.TTL, time.Second),
		fields.Check(c.MaxSession >= 1 && c.MaxSession <= 16<<20, "MaxSession", c.MaxSession, "must be 1 byte to 16 MiB"),
		fields.NotNegative("MemoryLimit", c.MemoryLimit),
		fields.Check(c.RESPRefuseRevive >= 0 && c.RESPRefuseRevive <= time.Hour, "RESPRefuseRevive", c.RESPRefuseRevive, "must be 0 (off) to 1h"),
		fields.NotNegative("HTTPMaxClients", c.HTTPMaxClients),
		fields.Check(c.HTTPMaxPerAddress >= 0 && c.HTTPMaxPerAddress <= c.HTTPMaxClients, "HTTPMaxPerAddress", c.HTTPMaxPerAddress,
			fmt.Sprintf("must be 1 to {HTTPMaxClients}, which is %d", c.HTTPMaxClients)),
		fields.NotNegative("RESPMaxClients", c.RESPMaxClients),
		fields.NotNegative("RESPMaxClientsPerAddress", c.RESPMaxClientsPerAddress),
		fields.NotNegative("RESPIdleTimeout", c.RESPIdleTimeout),
		fields.NotNegative("DrainTimeout", c.DrainTimeout),
		fields.By("Fsync", c.Fsync, checkSync),
		fields.Check(c.SnapshotEvery == 0 || c.SnapshotEvery >= time.Second && c.DataDir != "" && c.Files == nil, "SnapshotEvery", c.SnapshotEvery,
			"must be 1s or more, beside {DataDir}"),
		fields.Check(c.SnapshotExec == "" || c.SnapshotEvery != 0, "SnapshotExec", c.SnapshotExec, "must be given beside {SnapshotEvery}"),
		fields.If(c.SnapshotExec != "", fields.By("SnapshotExec", c.SnapshotExec, snapshot.CheckCommand)),
		fields.If(c.Upstream != "", c.checkUpstream()),
		fields.Token("Cookie", c.Cookie, "cookie"),
		fields.Token("UserHeader", c.UserHeader, "header"),
		fields.Each("TrustHeaders", c.TrustHeaders, proxyHeader),
		fields.Host("Advertise", c.Advertise),
		fields.MaxBytes("Zone", c.Zone, 32),
		fields.Each("GossipKeys", c.GossipKeys, fields.AESKey),
		fields.Hidden(c.Handler == nil || c.App == "" && !c.Demo, "Handler", "cannot be used with {App} or {Demo}, which take the same requests"),
		fields.If(c.App != "", fields.By("App", c.App, app.CheckAddress)),
		fields.Hidden(!c.Demo || c.App == "", "Demo", "cannot be used with {App}, which takes the same requests"),
		fields.Check(c.AppHealth == "" || c.App != "" && strings.HasPrefix(c.AppHealth, "/"), "AppHealth", c.AppHealth,
			"must be a path such as /healthz, beside {App}"),
		fields.Address("HTTP", c.HTTP),
		fields.Address("Admin", c.Admin),
		fields.Address("Gossip", c.Gossip),
		fields.If(isNode, fields.Address("Peer", c.Peer)),
		fields.If(isNode && c.RESP != "", fields.Address("RESP", c.RESP)),
		fields.Each("Join", c.Join, fields.Address),
		fields.AtLeast("Expect", c.Expect, 0),
	)
	for _, e := range c.exposures() {
		problems = append(problems, fields.Check(c.Insecure, e.field, e.address, e.why+", or {Insecure} if the network is trusted")...)
	}
	return fieldErrors(problems)
}

// checkUpstream shows nothing of the URL but what is no password.
func (c Config) checkUpstream() []fields.Problem {
	if c.Role != RoleNode {
		return fields.Hidden(false, "Upstream", "is for nodes: a router forwards, and holds nothing")
	}
	if err := upstream.CheckURL(c.Upstream); err != nil {
		return fields.Hidden(false, "Upstream", err.Error())
	}
	return nil
}

func checkSync(text string) error {
	if _, err := persist.ParseSync(text); err != nil {
		return errors.New("must be everysec, always or no")
	}
	return nil
}

// proxyHeader accepts the name of a header, but none by which members speak to
// each other: no proxy may set those.
func proxyHeader(field, name string) []fields.Problem {
	own := strings.HasPrefix(strings.ToLower(name), "holdfast-")
	return fields.Check(fields.IsToken(name) && !own, field, name, "must be a header name, and none of Holdfast's own")
}

// exposure is an address that strangers could reach and misuse.
type exposure struct {
	field, address string
	why            string // what it lacks and what would protect it
}

// exposures lists the addresses that nothing protects: who can gossip can move
// sessions, who reaches the peer or the Redis port can read them, and the admin
// port can drain the node.
func (c Config) exposures() (list []exposure) {
	add := func(protected bool, field, address, why string) {
		if !protected && !fields.IsLoopback(address) {
			list = append(list, exposure{field, address, why})
		}
	}
	isNode := c.Role == RoleNode
	add(len(c.GossipKeys) > 0, "Gossip", c.Gossip, "is not loopback and gossip is not encrypted: give {GossipKeys}")
	add(!isNode, "Peer", c.Peer, "is not loopback and the peer link is not protected: give a loopback address")
	add(!isNode || c.RESP == "" || c.RESPPassword != "", "RESP", c.RESP, "is not loopback and asks for no password: give {RESPPassword}")
	add(false, "Admin", c.Admin, "is not loopback and nothing protects it: give a loopback address")
	return list
}

// warnOfExposure names what the operator's word has left open.
func (c Config) warnOfExposure() {
	var open []string
	for _, e := range c.exposures() {
		open = append(open, strings.ToLower(e.field)+" "+e.address)
	}
	if len(open) > 0 {
		c.Log.Warn("insecure: open to everybody who reaches them: " + strings.Join(open, ", "))
	}
}

// givesCookies says whether users get their cookies from this member. A node
// without an application is asked by routers only: its random secret differs
// from theirs, and that does not matter.
func (c Config) givesCookies() bool {
	return c.Role != RoleNode || c.Secret != nil || c.App != "" || c.Demo || c.Handler != nil
}

// hundredths is the weight as the ring counts it, 0 for one that is too large to
// count.
func (c Config) hundredths() int {
	if !(math.Abs(c.Weight) <= ring.MostWeight) { // written so that NaN fails too
		return 0
	}
	return int(math.Round(100 * c.Weight))
}

func (c Config) ringParams() ring.Params {
	return ring.Params{VirtualNodes: c.VirtualNodes, Load: c.Load, Copies: c.Copies}
}

// foundAfter is how long a node waits before it founds a cluster alone.
func (c *Config) foundAfter() time.Duration {
	if c.FoundAfter == 0 && c.Expect == 0 {
		return time.Second
	}
	return max(0, c.FoundAfter)
}

// expected is how many nodes found a cluster.
func (c *Config) expected() int {
	if c.Expect > 0 {
		return c.Expect
	}
	own, port, _ := net.SplitHostPort(c.Gossip)
	hosts := []string{own, c.Advertise, c.Name}
	others := make(map[string]bool)
	for _, address := range c.Join {
		if host, p, _ := net.SplitHostPort(address); p != port || !slices.Contains(hosts, host) {
			others[address] = true
		}
	}
	return (len(others)+1)/2 + 1
}
