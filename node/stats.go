package node

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/seed-95a32959/holdfast/session"
)

// counters count since the node's start.
type counters struct {
	served         atomic.Int64 // operations run on this node's store
	forwarded      atomic.Int64 // operations sent to another member
	relayed        atomic.Int64 // of these, those sent to a third member because the owner is silent
	unavailable    atomic.Int64 // operations that found no owner in time
	unconfirmed    atomic.Int64 // deletes that not every reachable copy confirmed in time
	nowhere        atomic.Int64 // deletes of what nobody has
	fetchedThrough atomic.Int64 // keys fetched before they were served, in cold partitions
	failovers      atomic.Int64 // requests that came because their owner was refused
	refusedOps     atomic.Int64 // forwarded operations refused because too many wait
	refusedLate    atomic.Int64 // requests refused because they came too late to be run
	refusedLagging atomic.Int64 // new sessions refused because copies are too far behind
	visitors       atomic.Int64 // requests refused because a visitor's cookie came with them, and the session is another's
	slowed         atomic.Int64 // writes that were slowed down because copies are behind
	unleased       atomic.Int64 // times that nobody answered an owner who asked for its lease
	degraded       atomic.Int64 // operations served without being able to reach any other node
	blind          atomic.Int64 // misses that were not answered as such, because all holders were out of reach
	gaps           atomic.Int64 // times that this process stood still
	succeeded      atomic.Int64 // partitions that others had claimed while this node was out of touch
	busyClaims     atomic.Int64 // partitions that could not be given up at once, because an operation held them
	farEpochs      atomic.Int64 // epochs heard of that were too far above all known ones to count
	mendedViews    atomic.Int64 // exchanges of members because rings differed
	peerIn         atomic.Int64 // bytes read from peer connections
	peerOut        atomic.Int64 // bytes written to peer connections
}

const (
	lagInterval = 100 * time.Millisecond
	// lagSlow is the replication lag over which writers are slowed down, and
	// lagRefuse the one over which new sessions are refused: what would be
	// lost with this node must not grow without bound.
	lagSlow   = time.Second
	lagRefuse = 5 * time.Second
	// slowBy is how long each write is held up for each second of lag.
	slowBy = 5 * time.Millisecond
)

// lagGauge is the replication lag as it was at the last look.
type lagGauge struct{ nanos atomic.Int64 }

func (n *Node) watchLag(ctx context.Context) {
	tick := time.NewTicker(lagInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			_, age := n.replicator.Lag()
			n.lag.nanos.Store(int64(age))
		}
	}
}

func (n *Node) slow() bool { return n.lag.nanos.Load() > int64(lagSlow) }

// admit slows a write down, or refuses a new session, while the copies of
// others are too far behind. A logout always passes.
func (n *Node) admit(ctx context.Context, w work) error {
	lag := time.Duration(n.lag.nanos.Load())
	if lag <= lagSlow || w.deletes() {
		return nil
	}
	if lag > lagRefuse && w.creates(n.store) {
		n.stats.refusedLagging.Add(1)
		return fmt.Errorf("%s: copies are %v behind, over %v no new sessions are taken: %w", w.name(), lag.Round(time.Millisecond), lagRefuse, session.ErrFull)
	}
	n.stats.slowed.Add(1)
	select {
	case <-time.After(time.Duration(lag.Seconds() * float64(slowBy))):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// statsAnswer is the shape of /admin/stats.
type statsAnswer struct {
	Name        string  `json:"name"`
	Role        Role    `json:"role"`
	State       string  `json:"state"`
	Uptime      float64 `json:"uptime_s"`
	Fingerprint string  `json:"fingerprint"`
	Sessions    int     `json:"sessions"`
	Tombstones  int     `json:"tombstones"`
	Bytes       int64   `json:"bytes"`
	// TombstoneBytes are those of Bytes that tombstones take, compacted ones too,
	// which Tombstones does not have. MemoryLimit is that of the sessions, 0 for
	// none. Full says that other members are asked to send no more copies.
	TombstoneBytes int64            `json:"tombstone_bytes"`
	Compacted      int              `json:"tombstones_compacted"`
	MemoryLimit    int64            `json:"memory_limit"`
	Full           bool             `json:"full"`
	Partitions     partitionsAnswer `json:"partitions"`
	BelowTarget    int              `json:"below_target"`
	Lag            float64          `json:"lag_ms"`
	Dirty          int              `json:"dirty"`
	Split          bool             `json:"split_suspected"`
	// LongestHold is for how long one partition was held at most, within the
	// last minute or two: everybody else who needed it waited.
	LongestHold float64 `json:"longest_hold_ms"`
	// Connections to the public door, and the bytes of bodies that the session
	// API reads.
	HTTPClients   int   `json:"http_clients"`
	HTTPBodyBytes int64 `json:"http_body_bytes"`
	// Connections to the Redis door, those of them that subscribe, and the bytes
	// of their buffers.
	RedisClients     int              `json:"redis_clients"`
	RedisBufferBytes int64            `json:"redis_buffer_bytes"`
	RedisSubscribers int              `json:"redis_subscribers"`
	Counters         map[string]int64 `json:"counters"`
}

type partitionsAnswer struct {
	Owned int `json:"owned"`
	Warm  int `json:"warm"`
	Cold  int `json:"cold"`
}

func (n *Node) statsAnswer() statsAnswer {
	view := n.View()
	a := statsAnswer{
		Name: n.id.Name, Role: n.cfg.Role, State: n.members.state().String(), Uptime: n.since().Seconds(),
		Fingerprint: view.Table.Fingerprint(), Counters: make(map[string]int64),
	}
	for name, c := range map[string]*atomic.Int64{
		"forwarded": &n.stats.forwarded, "relayed": &n.stats.relayed,
		"unavailable": &n.stats.unavailable, "failovers": &n.stats.failovers, "mended_views": &n.stats.mendedViews,
		"requests_unsaved": &n.bindings.Unsaved, "requests_ended": &n.bindings.Ended, "requests_unslid": &n.bindings.Unslid,
		"peer_bytes_in": &n.stats.peerIn, "peer_bytes_out": &n.stats.peerOut, "refused_visitors": &n.stats.visitors,
	} {
		a.Counters[name] = c.Load()
	}
	a.Counters["events_missed"] = n.events.Missed()
	a.HTTPClients, a.HTTPBodyBytes = n.httpGate.Open(), n.bodies.Used()
	a.Counters["http_rejected"], a.Counters["http_rejected_address"] = n.httpGate.Refused()
	a.Counters["http_bodies_refused"], a.Counters["http_bodies_evicted"] = n.bodies.Refused(), n.bodies.Evicted()
	a.Counters["http_heads_cut_off"] = n.heads.Refused() + n.heads.Evicted()
	apiHosts, apiSites := n.apiGuard.Refused()
	adminHosts, adminSites := n.adminGuard.Refused()
	a.Counters["refused_hosts"], a.Counters["refused_sites"] = apiHosts+adminHosts, apiSites+adminSites
	if n.gossip != nil {
		a.Counters["gossip_refused"] = n.gossip.refused.total()
	}
	if n.router != nil {
		s := n.router.Stats()
		for name, v := range map[string]uint64{
			"proxied": s.Requests, "proxy_retries": s.Retries, "proxy_failovers": s.Failovers, "proxy_refused": s.Refused,
			"proxy_silent": s.Silent, "proxy_cancelled": s.Cancelled, "proxy_broken": s.Broken, "proxy_malformed": s.Malformed, "hops_unproven": s.Unproven, "proxy_errors": s.Errors,
		} {
			a.Counters[name] = int64(v)
		}
		a.Counters["refused_visitors"] += int64(s.Visitors)
	}
	if n.cfg.Role != RoleNode {
		return a
	}
	s := n.store.Stats()
	a.Sessions, a.Tombstones, a.Bytes = int(s.Sessions), int(s.Tombstones), s.Bytes
	a.TombstoneBytes, a.Compacted, a.MemoryLimit, a.Full = s.Dead, s.Compacted, s.Limit, n.store.Full()
	a.LongestHold = float64(s.LongestHold.Microseconds()) / 1000
	for name, v := range map[string]uint64{
		"refused_full": s.RefusedFull, "copies_refused_full": s.RefusedCopies, "tombstones_dropped": s.Dropped,
		"writes_retried": s.Retried, "writes_busy": s.Busy,
	} {
		a.Counters[name] = int64(v)
	}
	ready, cold := n.owner.counts()
	a.Partitions = partitionsAnswer{Owned: view.Table.Owned(n.id.Name), Warm: ready, Cold: cold}
	a.BelowTarget = n.keeper.belowTarget()
	dirty, age := n.replicator.Lag()
	a.Split = n.lease.splitSuspected()
	a.Dirty, a.Lag = dirty, float64(age.Microseconds())/1000
	r := &n.replicator.Stats
	for name, c := range map[string]*atomic.Int64{
		"served": &n.stats.served, "unleased": &n.stats.unleased, "degraded": &n.stats.degraded, "blind": &n.stats.blind, "stood_still": &n.stats.gaps, "succeeded": &n.stats.succeeded,
		"claims_busy": &n.stats.busyClaims, "claims_far": &n.stats.farEpochs,
		"unconfirmed_deletes": &n.stats.unconfirmed, "deletes_nowhere": &n.stats.nowhere, "fetched_through": &n.stats.fetchedThrough,
		"refused_ops": &n.stats.refusedOps, "refused_late": &n.stats.refusedLate, "repeats_unfenced": &n.fence.unfenced, "refused_lagging": &n.stats.refusedLagging, "slowed": &n.stats.slowed,
		"copies_sent": &r.Sent, "copy_batches": &r.Batches, "copy_batches_failed": &r.Failed, "copies_quarantined": &r.Quarantined, "copies_no_room": &r.NoRoom,
		"copies_merged": &r.Merged, "copies_refused": &r.Refused, "repair_pushed": &r.Pushed, "repair_pulled": &r.Pulled, "repair_mended": &r.Mended,
		"messages_untold": &n.pubsub.untold, "key_events_dropped": &n.pubsub.dropped,
	} {
		a.Counters[name] = c.Load()
	}
	a.Counters["refused_peers"] = n.gate.refusedTotal()
	if n.redis != nil {
		n.redisStats(&a)
	}
	return a
}
