package admin

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-95a32959/holdfast/internal/adminapi"
)

// gauge is one figure that goes up and down.
type gauge struct {
	desc *prometheus.Desc
	of   func(s *adminapi.Stats) float64
}

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("holdfast_"+name, help, labels, nil)
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

var (
	infoDesc      = describe("info", "Always 1; the labels say which member this is.", "name", "boot", "role", "zone")
	membersDesc   = describe("members", "Members as this one sees them, itself included.", "role", "state")
	gossipDesc    = describe("gossip_refused_by_reason_total", "Packets and connections of gossip that no member of this cluster sends, by reason.", "reason")
	refusedDesc   = describe("peer_refused_total", "Connections refused at the peer port, by reason.", "reason")
	clientsDesc   = describe("http_clients", "Connections to the public endpoint.")
	bodiesDesc    = describe("http_body_bytes", "Bytes of bodies that the session API reads, or holds while it carries them out.")
	lostDesc      = describe("sessions_lost_estimate", "About how many sessions are lost in the whole cluster, because every member that held them has ended; until they are back, or holdfast forget has said that this is known.")
	missingDesc   = describe("members_missing", "Members that took part and ended without leaving, until they are back or forgotten.", "role")
	shortDesc     = describe("memory_short_without_one_bytes", "Bytes that the nodes would lack for all copies if the one were lost whose loss would be the worst; 0 while there is room.")
	partitionDesc = describe("partitions", "Partitions of this node: owned by the ring, served warm, still cold.", "state")

	// nodeGauges are only a node's; a router holds nothing.
	nodeGauges = []gauge{
		{describe("sessions", "Live sessions held here, copies included."), func(s *adminapi.Stats) float64 { return float64(s.Sessions) }},
		{describe("tombstones", "Deleted sessions that are remembered, so that they stay deleted."), func(s *adminapi.Stats) float64 { return float64(s.Tombstones) }},
		{describe("session_bytes", "Bytes of the sessions and tombstones held here."), func(s *adminapi.Stats) float64 { return float64(s.Bytes) }},
		{describe("tombstones_compacted", "Tombstones of which only a hash is kept, because memory is short; tombstones does not have them."), func(s *adminapi.Stats) float64 { return float64(s.Compacted) }},
		{describe("tombstone_bytes", "Bytes of the tombstones held here; session_bytes has them too."), func(s *adminapi.Stats) float64 { return float64(s.TombstoneBytes) }},
		{describe("memory_limit_bytes", "What -memory allows for sessions; 0 for no limit."), func(s *adminapi.Stats) float64 { return float64(s.MemoryLimit) }},
		{describe("memory_full", "1 while sessions take so much of -memory that other members are asked to let none grow of which this one holds the copy."), func(s *adminapi.Stats) float64 { return truth(s.Full) }},
		{describe("below_target", "Keys served here of which there are fewer copies than -copies asks for."), func(s *adminapi.Stats) float64 { return float64(s.BelowTarget) }},
		{describe("copies_due", "Keys served here of which a copy can be made and is not there yet."), func(s *adminapi.Stats) float64 { return float64(s.CopiesDue) }},
		{describe("over_limit_bytes", "Bytes by which sessions are over memory_limit_bytes: copies that had to be taken."), func(s *adminapi.Stats) float64 { return float64(s.OverLimit) }},
		{describe("replication_lag_seconds", "Age of the oldest change that a copy lacks: what would be lost with this node."), func(s *adminapi.Stats) float64 { return s.Lag / 1000 }},
		{describe("replication_dirty", "Changes that copies lack."), func(s *adminapi.Stats) float64 { return float64(s.Dirty) }},
		{describe("longest_hold_seconds", "Longest time that one partition was held within the last minute or two; 0 for less than 0.1 ms."), func(s *adminapi.Stats) float64 { return s.LongestHold / 1000 }},
		{describe("redis_clients", "Connections to the Redis endpoint."), func(s *adminapi.Stats) float64 { return float64(s.RedisClients) }},
		{describe("redis_buffer_bytes", "Bytes that connections to the Redis endpoint hold: commands, transactions, answers and messages."), func(s *adminapi.Stats) float64 { return float64(s.RedisBufferBytes) }},
		{describe("redis_subscribers", "Connections to the Redis endpoint that subscribe to something."), func(s *adminapi.Stats) float64 { return float64(s.RedisSubscribers) }},
		{describe("clock_off_seconds", "How far this member's time is ahead of the median of all members'."), func(s *adminapi.Stats) float64 { return s.ClockOff / 1000 }},
		{describe("clock_host_seconds", "How far the host's clock is ahead of this member's time since it jumped."), func(s *adminapi.Stats) float64 { return s.ClockHost / 1000 }},
		{describe("disk_lag_seconds", "Age of the oldest change that the disk lacks: what would be lost if all nodes ended."), func(s *adminapi.Stats) float64 {
			return ofDisk(s, func(d *adminapi.Disk) float64 { return d.Lag / 1000 })
		}},
		{describe("disk_bytes", "Bytes that the files of the disk take; 0 without -data-dir."), func(s *adminapi.Stats) float64 {
			return ofDisk(s, func(d *adminapi.Disk) float64 { return float64(d.Bytes) })
		}},
		{describe("disk_failed", "1 once the disk has failed: nothing more is written to it, and the node hands over what it holds."), func(s *adminapi.Stats) float64 {
			return ofDisk(s, func(d *adminapi.Disk) float64 { return truth(d.Error != "") })
		}},
		{describe("snapshot_age_seconds", "Age of the newest snapshot of the disk, or of this process while there is none; 0 without -snapshot-every."), func(s *adminapi.Stats) float64 {
			return ofDisk(s, func(d *adminapi.Disk) float64 { return d.SnapshotAge })
		}},
		{describe("upstream_taken_lately", "Sessions taken over from the old Redis in the last five minutes; 0 without -upstream."), func(s *adminapi.Stats) float64 {
			return ofUpstream(s, func(u *adminapi.Upstream) float64 { return float64(u.Lately) })
		}},
		{describe("upstream_deletes_pending", "Keys that have ended here and wait to be deleted at the old Redis."), func(s *adminapi.Stats) float64 {
			return ofUpstream(s, func(u *adminapi.Upstream) float64 { return float64(u.Ending) })
		}},
		{describe("upstream_down", "1 while the old Redis does not answer, and is not asked."), func(s *adminapi.Stats) float64 {
			return ofUpstream(s, func(u *adminapi.Upstream) float64 { return truth(u.Error != "") })
		}},
		{describe("split_suspected", "1 while under half of the last stable membership is there."), func(s *adminapi.Stats) float64 { return truth(s.Split) }},
	}
)

// ofDisk is a figure of the disk, 0 without one.
func ofDisk(s *adminapi.Stats, of func(d *adminapi.Disk) float64) float64 {
	if s.Disk == nil {
		return 0
	}
	return of(s.Disk)
}

// ofUpstream is a figure of what is taken over, 0 where nothing is.
func ofUpstream(s *adminapi.Stats, of func(u *adminapi.Upstream) float64) float64 {
	if s.Upstream == nil {
		return 0
	}
	return of(s.Upstream)
}
