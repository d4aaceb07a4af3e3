package node

import (
	"github.com/seed-95a32959/holdfast/internal/metric"
)

// counters are what a member itself counts since its start. What they count
// stands where they are made.
type counters struct {
	forwarded   *metric.Counter
	relayed     *metric.Counter
	unavailable *metric.Counter

	// Of nodes alone:
	served         *metric.Counter
	unconfirmed    *metric.Counter
	nowhere        *metric.Counter
	refusedLate    *metric.Counter
	refusedLagging *metric.Counter
	slowed         *metric.Counter
	degraded       *metric.Counter
	blind          *metric.Counter
}

// newCounters makes the counters of a member of a role, in its set.
func newCounters(set *metric.Set, role Role) *counters {
	nodes := set
	if role != RoleNode {
		nodes = new(metric.Set) // which nobody lists
	}
	return &counters{
		forwarded:   set.Counter("forwarded", "Operations sent to another member."),
		relayed:     set.Counter("relayed", "Operations sent to a third member because the owner is silent; forwarded has them too."),
		unavailable: set.Counter("unavailable", "Operations that found no owner in time."),

		served:         nodes.Counter("served", "Operations run on this node's store."),
		unconfirmed:    nodes.Counter("unconfirmed_deletes", "Deletes that not every reachable copy confirmed in time."),
		nowhere:        nodes.Counter("deletes_nowhere", "Deletes of sessions that no member has, which left no tombstone."),
		refusedLate:    nodes.Counter("refused_late", "Requests refused because they came too late to be run."),
		refusedLagging: nodes.Counter("refused_lagging", "New sessions refused because copies are too far behind."),
		slowed:         nodes.Counter("slowed", "Writes slowed down because copies are behind."),
		degraded:       nodes.Counter("degraded", "Operations served without being able to reach any other node."),
		blind:          nodes.Counter("blind", "Misses that were not answered as such, because all holders were out of reach."),
	}
}

// countMember adds what the parts of any member count.
func (n *Node) countMember(put metric.Put) {
	put("events_missed", "Events that a slow reader of the event log did not get.", n.events.Missed())
	put("http_heads_cut_off", "Connections cut off because the heads of requests took all the room that there is, theirs the most.", n.heads.Refused()+n.heads.Evicted())

	apiHosts, apiSites := n.apiGuard.Refused()
	adminHosts, adminSites := n.operator.Refused()
	put("refused_hosts", "HTTP requests refused at the session API and the operator's endpoint because their Host is not one of the names of -http-host or -admin-host.", apiHosts+adminHosts)
	put("refused_sites", "HTTP requests refused there because the page of another site has sent them.", apiSites+adminSites)

	put("gossip_refused", "Packets and connections of gossip that no member of this cluster sends; gossip_refused_by_reason_total says more.", total(n.members.Refused()))
}

// countNode adds what only the parts of a node count.
func (n *Node) countNode(put metric.Put) {
	s := n.store.Stats()
	put("refused_full", "Writes refused because memory is short, here or at another holder of a copy.", int64(s.RefusedFull))
	put("copies_refused_full", "Records that were not taken from other members because memory is short.", int64(s.RefusedCopies))
	put("tombstones_dropped", "Tombstones forgotten before their time because memory is short: their sessions could come back with a member that was away.", int64(s.Dropped))
	put("writes_retried", "Runs of a transaction repeated, because another had written first.", int64(s.Retried))
	put("writes_busy", "Writes to large sessions refused, because others had written first each time.", int64(s.Busy))

	r := &n.replicator.Stats
	put("copies_sent", "Records sent to other members.", r.Sent.Load())
	put("copy_batches", "Batches of records sent to other members.", r.Batches.Load())
	put("copy_batches_failed", "Batches that were not confirmed, and whose records are sent again.", r.Failed.Load())
	put("copies_quarantined", "Records that a member refused to take, and that are left out until they change.", r.Quarantined.Load())
	put("copies_no_room", "Records for which another member had no memory; copies_quarantined has them too.", r.NoRoom.Load())
	put("copies_merged", "Records merged that other members sent.", r.Merged.Load())
	put("copies_refused", "Records that were not taken from other members.", r.Refused.Load())
	put("repair_pushed", "Records that repair sent.", r.Pushed.Load())
	put("repair_pulled", "Records that repair fetched.", r.Pulled.Load())
	put("repair_mended", "Partitions whose copies differed and were made equal.", r.Mended.Load())

	put("refused_peers", "Connections refused at the peer port; peer_refused_total says why.", total(n.mesh.Refusals()))
	put("repeats_unfenced", "Repeated operations of which an attempt before would not be refused, because too many were repeated.", n.fence.unfenced.Load())
	put("messages_untold", "Published messages that a member could not be told in time.", n.pubsub.untold.Load())
	put("key_events_dropped", "Keyspace events for which the queue had no room.", n.pubsub.dropped.Load())
}

func total(byReason map[string]int64) (n int64) {
	for _, count := range byReason {
		n += count
	}
	return n
}
