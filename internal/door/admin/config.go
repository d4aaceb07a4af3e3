package admin

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/seed-95a32959/holdfast/internal/adminapi"
	"github.com/seed-95a32959/holdfast/internal/census"
	"github.com/seed-95a32959/holdfast/internal/door"
	"github.com/seed-95a32959/holdfast/internal/drain"
	"github.com/seed-95a32959/holdfast/internal/events"
	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/metric"
	"github.com/seed-95a32959/holdfast/session"
)

// Config is what the endpoint needs of its member. All of it is required but
// what says otherwise. The functions are called from many goroutines.
type Config struct {
	Self          member.ID
	Role          member.Role
	Zone, Cluster string
	// Hosts are the names, as host or host:port, by which clients reach the
	// endpoint beside localhost and IP addresses. Empty ones name nothing.
	Hosts []string
	// Control answers /admin/dev/; nil for a path that is not found.
	Control http.Handler

	// View is the membership and the ring as the member sees them now, and
	// State what it says of itself.
	View  func() *member.View
	State func() member.State
	// Waiting says why the member has not taken its place yet, "" if it has.
	Waiting func() string
	// Unfit says why the member owns nothing though it has, none if it may.
	Unfit func() []string
	// Uptime is the time since the member's start.
	Uptime func() time.Duration
	Links  Links
	Census Census
	Events *events.Log
	// Counters are all that is counted at the member.
	Counters *metric.Set
	// Limits are those of all HTTP endpoints of the member.
	Limits *door.Limits
	Log    *slog.Logger
	// Closing is closed when the member's endpoints begin to close, which ends
	// the streams of events.
	Closing <-chan struct{}

	// HTTPClients counts the connections to the public endpoint, and
	// HTTPBodyBytes the bytes of bodies that the session API reads.
	HTTPClients   func() int
	HTTPBodyBytes func() int64
	// GossipRefused counts the packets and connections of gossip that were
	// refused, by reason.
	GossipRefused func() map[string]int64
	// AppDown says whether the member's application does not answer.
	AppDown func() bool

	// Sessions is the way to all sessions of the cluster, and Now its time.
	Sessions Sessions
	Now      func() time.Time

	// Node is what only a node has; nil at a router, which holds nothing.
	Node *Node
}

// Sessions is the way to all sessions of the cluster: each operation runs where
// its key is owned.
type Sessions interface {
	// Page returns some live sessions of a partition, in order of key: those
	// whose keys come after one. There are no more if there are none.
	Page(ctx context.Context, partition int, after string) ([]*session.Record, error)
	Do(ctx context.Context, op *session.Op, ack session.Ack) (session.Reply, error)
}

// Links are the member's links to the nodes beside it.
type Links interface {
	// Link returns how the link to a node stands; not ok if there is none.
	Link(id member.ID) (l Link, ok bool)
	// Heard returns the nodes that have lately answered a heartbeat with a
	// lease.
	Heard() []member.ID
	// Ask sends a node a question, in a frame of a type that package mesh
	// lists, and returns the answer.
	Ask(ctx context.Context, id member.ID, typ byte, question []byte) ([]byte, error)
}

// Census knows what is lost and who is missing: see package census.
type Census interface {
	Missing() []census.Missing
	Lost() (sessions int, with []string)
	MostNodes() int
	MemoryShort() (bytes int64)
	Forget(name string) (sessions int, err error)
}

// Link is how a link to a node stands.
type Link struct {
	Connected bool
	Relayed   bool   // it is reached through a third member alone
	Ring      string // the fingerprint that the node last said it has
	// ClockOffset is how far its clock is ahead of the member's, and LastHeard
	// how long ago the newest heartbeat was sent that it has answered with a
	// lease; negative for never.
	ClockOffset, LastHeard time.Duration
}

// Node is what a node has beyond what a router has.
type Node struct {
	Store  Store
	Copies Copies
	Gate   Gate
	// BelowTarget counts the keys served here of which there are fewer copies
	// than were asked for, and CopiesDue those of them of which a copy can be
	// made.
	BelowTarget, CopiesDue func() int
	// SplitSuspected says whether under half of the last stable membership is
	// there.
	SplitSuspected func() bool
	// NoMajority says that the node refuses because it does not reach a
	// majority.
	NoMajority func() bool
	// Electors names the nodes that count in mode majority; none in mode
	// available.
	Electors func() []string
	// ClockOff is how far the member's time is ahead of the median of all, and
	// ClockHost how far its host's clock is ahead of that time.
	ClockOff, ClockHost func() time.Duration
	// Disk says how the node's disk keeps up; nil without one.
	Disk func() adminapi.Disk
	// Upstream says how much was taken over; nil for a node that takes nothing
	// over.
	Upstream func() adminapi.Upstream
	// PeersRefused counts the connections refused at the peer port, by reason.
	PeersRefused func() map[string]int64
	// Redis counts the connections to the Redis endpoint, those of them that
	// subscribe, and the bytes that they hold; nil without that endpoint.
	Redis func() (clients, subscribers int, bufferBytes int64)
	Drain Drain
}

// Store is what the endpoint reads of the node's sessions.
type Store interface {
	// Peek returns what is held of a key, nil for nothing.
	Peek(key string) *session.Record
	Stats() session.Stats
	// Full says whether others are asked to send no more copies.
	Full() bool
}

// Copies says what copies at other nodes lack: how many changes, and for how
// long the oldest of them.
type Copies interface {
	Lag() (dirty int, age time.Duration)
	// LagOf is that of one member, by its ID as a string.
	LagOf(id string) (dirty int, age time.Duration)
}

// Gate counts the partitions that the node serves: the complete ones, and those
// of which something is still fetched.
type Gate interface {
	Counts() (warm, cold int)
}

// Drain takes the node out of the ring.
type Drain struct {
	// Start begins to hand over all that the node holds, or joins a drain that
	// is under way, and returns at once. It tells progress how far it is, and
	// ended how it went. A client that leaves does not end it.
	Start func(progress func(drain.Status)) (ended <-chan error)
	// Unsynced counts the records that are not handed over.
	Unsynced func() int
	// Stop ends the node, once all its answers are written, and returns at
	// once.
	Stop func()
}
