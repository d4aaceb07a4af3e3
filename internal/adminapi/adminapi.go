// Package adminapi has the shapes of what the admin endpoint answers in JSON.
// Members write them. The commands read them, and so do the programs that test
// holdfast from outside. Scripts rely on them too, so a field's name and unit
// stay as they are.
package adminapi

import "time"

// Ring is the answer of GET /admin/ring.
type Ring struct {
	// Fingerprint is equal where members show the same owner and successors for
	// every partition.
	Fingerprint string `json:"fingerprint"`
	// Copies is how many nodes are to hold each session.
	Copies  int      `json:"copies"`
	Members []Member `json:"members"`
	// Partitions are in the order of their numbers; none without a node.
	Partitions []Partition `json:"partitions"`
}

// Member is one boot of a member, with the addresses at which others reach it.
type Member struct {
	Name string `json:"name"`
	Boot string `json:"boot"`
	Role string `json:"role"` // node or router
	// State is what the member says of itself: joining, ready or leaving; or
	// left, gone without having left, or superseded by a later boot; or unfit
	// while it owns nothing for what is wrong with it, or unreached while gossip
	// knows it as alive and nothing else comes through to it. Left, gone and
	// superseded ones stay listed for a while.
	State string `json:"state"`
	Zone  string `json:"zone"`
	// Weight is a node's share of the partitions beside that of others, 1 if it
	// states none; 0 for a router.
	Weight float64 `json:"weight"`
	HTTP   string  `json:"http"`
	Admin  string  `json:"admin"`
	RESP   string  `json:"resp"`
	Peer   string  `json:"peer"`
	Gossip string  `json:"gossip"`
	Pid    int     `json:"pid"`
	// Partitions is how many it owns, and Share which part of all they are,
	// from 0 to 1.
	Partitions int     `json:"partitions"`
	Share      float64 `json:"share"`
	// Params are the parameters of the ring by which the member places
	// partitions, such as "partitions=1024 vnodes=400 load=1.1 copies=2", and
	// Wants those that its operator has asked for, none if empty: the cluster
	// takes a value once all nodes want it.
	Params string `json:"params"`
	Wants  string `json:"wants"`
	// Wire is the newest version of what members send each other that this
	// member and the one that answers both speak.
	Wire int `json:"wire"`
}

// Partition is who owns a partition, and who follows.
type Partition struct {
	ID         int      `json:"id"`
	Owner      string   `json:"owner"`
	Successors []string `json:"successors"`
}

// Key is the answer of GET /admin/ring?key=.
type Key struct {
	Key         string   `json:"key"`
	Slot        int      `json:"slot"`
	Partition   int      `json:"partition"`
	Owner       string   `json:"owner"` // empty without a node
	Successors  []string `json:"successors"`
	Fingerprint string   `json:"fingerprint"`
	// Holders has every node on the ring, whether it should hold the key or
	// not.
	Holders []Holding `json:"holders"`
}

// Holding is what one node has of a key.
type Holding struct {
	Name    string `json:"name"`
	State   string `json:"state"` // live, deleted, none or silent
	Version string `json:"version,omitempty"`
	// Hash is over all that merge sees: equal hashes are equal copies.
	Hash string `json:"hash,omitempty"`
}

// SeenMember is one element of the answer of GET /admin/members: a member, and
// how it looks from the one that answers.
type SeenMember struct {
	Member
	// Link is self, up, relayed where the member is reached through a third one
	// alone, down, or none for a router.
	Link string `json:"link"`
	// Ring is the fingerprint that the member last said it has.
	Ring string `json:"ring,omitempty"`
	// LastHeard is how long ago the newest heartbeat was sent that it has
	// answered with a lease, in milliseconds; 0 for the answering member
	// itself, -1 for never, a router, or not since the answering member's
	// process stood still.
	LastHeard float64 `json:"last_heard_ms"`
	// ClockOffset is how far its clock is ahead of the answering member's, in
	// milliseconds. Over 2 s ahead, what it writes is not taken.
	ClockOffset float64 `json:"clock_offset_ms"`
	// Dirty counts the answering node's writes that it lacks, and Lag is the
	// age of the oldest in milliseconds.
	Dirty int     `json:"dirty"`
	Lag   float64 `json:"lag_ms"`
}

// Disk says how a node's disk keeps up.
type Disk struct {
	Fsync string  `json:"fsync"`           // everysec, always or no
	Bytes int64   `json:"bytes"`           // that its files take
	Lag   float64 `json:"lag_ms"`          // the age of the oldest change that was not written
	Error string  `json:"error,omitempty"` // why nothing is written any more
	// SnapshotAge is how many seconds ago the newest snapshot was begun, or the
	// node was started where there is none; 0 where none are taken.
	SnapshotAge float64 `json:"snapshot_age_s,omitempty"`
	// SnapshotEvery is how many seconds after one the next is due.
	SnapshotEvery float64 `json:"snapshot_every_s,omitempty"`
}

// Upstream says how much a node has taken over from the Redis that had the
// sessions before.
type Upstream struct {
	Address string `json:"address"`         // host:port
	Taken   int64  `json:"taken"`           // sessions since the node's start
	Lately  int64  `json:"taken_5m"`        // those of the last five minutes, or of four and a part
	Ending  int    `json:"deletes_pending"` // keys that wait to be deleted there
	Dropped int64  `json:"deletes_dropped"` // deletes that were given up
	Error   string `json:"error,omitempty"` // why nothing is asked at this moment
}

// Stats is the answer of GET /admin/stats.
type Stats struct {
	Name        string  `json:"name"`
	Role        string  `json:"role"`
	State       string  `json:"state"`
	Uptime      float64 `json:"uptime_s"` // seconds
	Fingerprint string  `json:"fingerprint"`
	// Sessions are those held here, copies included.
	Sessions   int   `json:"sessions"`
	Tombstones int   `json:"tombstones"`
	Bytes      int64 `json:"bytes"`
	// TombstoneBytes are those of Bytes that tombstones take, compacted ones
	// too, which Tombstones does not have. MemoryLimit is that of the sessions,
	// 0 for none. Full says that other members are asked to send no more
	// copies.
	TombstoneBytes int64      `json:"tombstone_bytes"`
	Compacted      int        `json:"tombstones_compacted"`
	MemoryLimit    int64      `json:"memory_limit"` // bytes
	Full           bool       `json:"full"`
	Partitions     Partitions `json:"partitions"`
	// BelowTarget counts the keys served here of which there are fewer copies
	// than were asked for: with one node for two copies, all of them. CopiesDue
	// counts those of them of which a copy can be made, because a member that
	// should hold it is there; it falls to 0 while members stay the same.
	BelowTarget int `json:"below_target"`
	CopiesDue   int `json:"copies_due"`
	// ClockOff is how far the member's time is ahead of the median of all, and
	// ClockHost how far its host's clock is ahead of that time since it jumped;
	// in ms.
	ClockOff  float64 `json:"clock_off_ms"`
	ClockHost float64 `json:"clock_host_ms"`
	// SessionsLost is about how many sessions are lost, in the whole cluster,
	// because every member that held them has ended. It stays until they are
	// back, or POST /admin/forget has said that this is known.
	SessionsLost int `json:"sessions_lost_estimate"`
	// Missing are the members that took part and ended without leaving, until
	// they are back or forgotten.
	Missing []Missing `json:"missing"`
	// MostNodes is how many nodes this member has seen on the ring at once.
	MostNodes int `json:"most_nodes"`
	// OverLimit is by how many bytes the sessions are over MemoryLimit, and
	// MemoryShort how many bytes the nodes would lack for all copies if the one
	// were lost whose loss would be the worst; 0 while there is room.
	OverLimit   int64 `json:"over_limit_bytes"`
	MemoryShort int64 `json:"memory_short_without_one_bytes"`
	// Lag is the age in milliseconds of the oldest change that a copy lacks,
	// and Dirty how many changes copies lack.
	Lag   float64 `json:"lag_ms"`
	Dirty int     `json:"dirty"`
	// Split is set while under half of the last stable membership is there.
	Split bool `json:"split_suspected"`
	// Disk is nil for a node that keeps its sessions in memory alone.
	Disk *Disk `json:"disk,omitempty"`
	// Upstream is nil for a node that takes nothing over.
	Upstream *Upstream `json:"upstream,omitempty"`
	// Electors names the nodes that count in mode majority, as far as this one
	// knows. A node that has been started anew is not among them before it has
	// been added again. None in mode available.
	Electors []string `json:"electors,omitempty"`
	// LongestHold is for how long one partition was held at most, in
	// milliseconds, within the last minute or two: everybody else who needed it
	// waited.
	LongestHold float64 `json:"longest_hold_ms"`
	// Connections to the public endpoint, and the bytes of bodies that the
	// session API reads.
	HTTPClients   int   `json:"http_clients"`
	HTTPBodyBytes int64 `json:"http_body_bytes"`
	// Connections to the Redis endpoint, those of them that subscribe, and the
	// bytes of their buffers.
	RedisClients     int   `json:"redis_clients"`
	RedisBufferBytes int64 `json:"redis_buffer_bytes"`
	RedisSubscribers int   `json:"redis_subscribers"`
	// Counters count since the member's start. /metrics has them too, each
	// under its name with "holdfast_" before it and "_total" behind, and says
	// what they count.
	Counters map[string]int64 `json:"counters"`
}

// Partitions counts the partitions of one node.
type Partitions struct {
	Owned int `json:"owned"` // on the ring
	Warm  int `json:"warm"`  // served, and complete
	Cold  int `json:"cold"`  // not complete: other holders are asked first
}

// Cluster is the answer of GET /admin/cluster: all that a page or a command
// needs to show the cluster, gathered by the one member that it can reach.
type Cluster struct {
	Cluster     string `json:"cluster"`
	Self        string `json:"self"` // the member that answers
	Boot        string `json:"boot"`
	Fingerprint string `json:"fingerprint"`
	Copies      int    `json:"copies"`
	// Uniform says that no weight and no zone counts, for a member takes part
	// whose version knows of neither.
	Uniform bool `json:"uniform"`
	// SessionsLost and Missing are as in Stats; LostWith has the names of the
	// members that held what is lost.
	SessionsLost int       `json:"sessions_lost_estimate"`
	LostWith     []string  `json:"lost_with"`
	Missing      []Missing `json:"missing"`
	// Dev says that the member is a child of "holdfast dev" and takes
	// POST /admin/dev/….
	Dev     bool            `json:"dev"`
	Members []ClusterMember `json:"members"`
}

// ClusterMember is a member as it looks from the one that answers, with its own
// figures; or without, and then Error says why not. Another router has neither:
// it listens on no peer address, and it holds nothing.
type ClusterMember struct {
	SeenMember
	Stats *Stats `json:"stats"`
	Error string `json:"error,omitempty"`
}

// Missing is a member that took part and ended without leaving.
type Missing struct {
	Name string `json:"name"`
	Boot string `json:"boot"`
	Role string `json:"role"`
	// Since is when it was missed, and LastSeen when it was last heard of.
	Since    time.Time `json:"since"`
	LastSeen time.Time `json:"last_seen"`
	// Ended says that its process is known to have ended. Otherwise it may be
	// frozen, or cut off.
	Ended bool `json:"ended"`
}

// Forget is the answer of POST /admin/forget?name=.
type Forget struct {
	Name string `json:"name"`
	// Sessions is how many of those that were counted as lost do not count any
	// more.
	Sessions int `json:"sessions"`
	// Silent are nodes that did not answer when they were told. They hear of it
	// from the others.
	Silent []string `json:"silent"`
}

// Load is the answer of POST /admin/load: what became of each line.
type Load struct {
	Fingerprint string `json:"fingerprint"`
	Loaded      int    `json:"loaded"`
	Present     int    `json:"present"`    // of which there is a session already
	Ended       int    `json:"ended"`      // whose time has come since the dump
	LoggedOut   int    `json:"logged_out"` // which were ended on purpose since
	// Refused are in order of line.
	Refused []Refused `json:"refused"`
}

// Refused is a line that could not be loaded.
type Refused struct {
	Line  int    `json:"line"` // of the request, the first is 1
	Error string `json:"error"`
}

// Drain is one line of the answer of POST /admin/drain. There is one each time
// that something has changed, and a last one with Done or Error.
type Drain struct {
	Done bool `json:"done,omitempty"`
	// Error is why the drain has failed, and what has become of the node.
	Error string `json:"error,omitempty"`
	// Partitions are those that the node still serves, or holds something of;
	// nil in the last line.
	Partitions *int `json:"partitions,omitempty"`
	// Unsynced counts the records in them: what would be lost, as far as the
	// node knows, if it ended now.
	Unsynced int `json:"unsynced"`
}
