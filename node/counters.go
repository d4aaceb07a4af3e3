package node

import (
	"github.com/seed-95a32959/holdfast/internal/metric"
)

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
	put("repeats_unfenced", "Repeated operations of which an attempt before would not be refused, because too many were repeated.", n.dispatcher.Unlogged())
	put("messages_untold", "Published messages that a member could not be told in time.", n.pubsub.Untold())
	put("key_events_dropped", "Keyspace events for which the queue had no room.", n.pubsub.Dropped())
}

func total(byReason map[string]int64) (n int64) {
	for _, count := range byReason {
		n += count
	}
	return n
}
