package redis

import (
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/seed-95a32959/holdfast/internal/resp"
	"github.com/seed-95a32959/holdfast/ring"
)

var clusterVerbs = []verb{
	{name: "cluster|slots", arity: 2, flags: loading | stale, run: (*conn).clusterSlots},
	{name: "cluster|shards", arity: 2, flags: loading | stale, run: (*conn).clusterShards},
	{name: "cluster|nodes", arity: 2, flags: loading | stale, run: (*conn).clusterNodes},
	{name: "cluster|info", arity: 2, flags: loading | stale, run: (*conn).clusterInfo},
	{name: "cluster|myid", arity: 2, flags: loading | stale, run: func(c *conn, _ [][]byte) {
		c.out.BulkString(nodeID(c.server.cfg.Cluster.Topology().Self))
	}},
	{name: "cluster|keyslot", arity: 3, flags: loading | stale, run: func(c *conn, args [][]byte) { c.out.Int(int64(ring.Slot(string(args[2])))) }},
	{name: "cluster|countkeysinslot", arity: 3, flags: stale, run: (*conn).clusterCountKeys},
	{name: "cluster|getkeysinslot", arity: 4, flags: stale, run: (*conn).clusterGetKeys},
	{name: "cluster|links", arity: 2, flags: stale, run: func(c *conn, _ [][]byte) { c.out.Array(0) }},
	{name: "cluster|count-failure-reports", arity: 3, flags: stale, run: (*conn).clusterReplicas},
	{name: "cluster|replicas", arity: 3, flags: stale, run: (*conn).clusterReplicas},
	{name: "cluster|slaves", arity: 3, flags: stale, run: (*conn).clusterReplicas},
}

// nodeID is the 40 hexadecimal digits by which Redis Cluster names a node. It
// stays as the name does, across restarts.
func nodeID(name string) string {
	sum := sha1.Sum([]byte(name))
	return hex.EncodeToString(sum[:])
}

// shard is what has the same owner and the same successors.
type shard struct {
	holders []string // the owner first
	slots   []slotRange
}

type slotRange struct{ first, last int }

// shardCache keeps the shards of the last ring, for clients ask often and rings
// change seldom.
type shardCache struct {
	last atomic.Pointer[shardsOf]
}

type shardsOf struct {
	table  *ring.Table
	shards []shard
}

func (c *shardCache) of(t *ring.Table) []shard {
	if last := c.last.Load(); last != nil && last.table == t {
		return last.shards
	}
	next := &shardsOf{t, shards(t)}
	c.last.Store(next)
	return next.shards
}

// shards groups the slots by their holders, in order of each shard's first
// slot. Neighbouring slots of one shard make one range.
func shards(t *ring.Table) []shard {
	var list []shard
	index := make(map[string]int)
	previous := -1
	for p := range ring.Partitions {
		if t.Owner(p) == "" {
			previous = -1
			continue
		}
		holders := append([]string{t.Owner(p)}, t.Successors(p)...)
		key := strings.Join(holders, "\x00")
		i, known := index[key]
		if !known {
			i = len(list)
			index[key] = i
			list = append(list, shard{holders: holders})
		}
		first := p * ring.SlotsPerPartition
		last := first + ring.SlotsPerPartition - 1
		if s := &list[i]; previous == i {
			s.slots[len(s.slots)-1].last = last
		} else {
			s.slots = append(s.slots, slotRange{first, last})
		}
		previous = i
	}
	return list
}

// reachable returns those of a shard's holders that clients can go to. The
// first is the owner; if that one does not speak Redis, any other forwards.
func (t *Topology) reachable(s shard) (members []Member) {
	for _, name := range s.holders {
		if m := t.member(name); m.RESP != "" {
			members = append(members, m)
		}
	}
	return members
}

func hostPort(address string) (host string, port int64) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return address, 0
	}
	port, _ = strconv.ParseInt(text, 10, 32) // a node announces numbers
	return host, port
}

// told returns the ring that the client is told of, and will go by. Many ask
// because a node has just refused them, and that node's end may not have been
// noticed here yet: a map that still names it sends them back there, for as
// long as they take to ask again. So every node named has been heard of since
// they asked. After a change all clients ask at once, and are answered
// together.
func (c *conn) told() Topology {
	c.server.confirm.join(c.ctx, c.server.group.Go)
	t := c.server.cfg.Cluster.Topology()
	c.learnt.asked(t.Table)
	return t
}

// topologyAnswers are what clients were told of one topology, as long as it is
// the last: many ask, with few words, and it is long.
type topologyAnswers struct {
	table   *ring.Table
	first   *Member // of a list that is replaced when it changes
	members int

	mu    sync.Mutex // guards bytes
	bytes map[topologyQuestion][]byte
}

type topologyQuestion struct {
	command string
	proto   int
}

// answersOf returns the answers that are kept for a topology.
func (s *Server) answersOf(t *Topology) *topologyAnswers {
	next := &topologyAnswers{table: t.Table, members: len(t.Members), bytes: make(map[topologyQuestion][]byte)}
	if len(t.Members) > 0 {
		next.first = &t.Members[0]
	}
	last := s.answers.Load()
	if last != nil && last.table == next.table && last.first == next.first && last.members == next.members {
		return last
	}
	s.answers.Store(next)
	return next
}

// tellTopology answers a command about the topology that clients go by. write
// makes the answer, once for each topology.
func (c *conn) tellTopology(command string, write func(c *conn, t Topology)) {
	t := c.told()
	kept, question := c.server.answersOf(&t), topologyQuestion{command, c.out.Proto}
	kept.mu.Lock()
	answer := kept.bytes[question]
	kept.mu.Unlock()
	if answer == nil {
		begin := len(c.out.B)
		write(c, t)
		answer = bytes.Clone(c.out.B[begin:])
		kept.mu.Lock()
		kept.bytes[question] = answer
		kept.mu.Unlock()
		return
	}
	c.out.B = append(c.out.B, answer...)
}

func (c *conn) clusterSlots([][]byte) { c.tellTopology("slots", (*conn).writeSlots) }

func (c *conn) clusterShards([][]byte) { c.tellTopology("shards", (*conn).writeShards) }

func (c *conn) clusterNodes([][]byte) { c.tellTopology("nodes", (*conn).writeNodes) }

func (c *conn) writeSlots(t Topology) {
	type entry struct {
		slotRange
		members []Member
	}
	var entries []entry
	for _, s := range c.server.shards.of(t.Table) {
		if members := t.reachable(s); len(members) > 0 {
			for _, r := range s.slots {
				entries = append(entries, entry{r, members})
			}
		}
	}
	slices.SortFunc(entries, func(a, b entry) int { return a.first - b.first })
	c.out.Array(len(entries))
	for _, e := range entries {
		c.out.Array(2 + len(e.members))
		c.out.Int(int64(e.first))
		c.out.Int(int64(e.last))
		for _, m := range e.members {
			host, port := hostPort(m.RESP)
			c.out.Array(4)
			c.out.BulkString(host)
			c.out.Int(port)
			c.out.BulkString(nodeID(m.Name))
			c.out.Array(0)
		}
	}
}

func (c *conn) writeShards(t Topology) {
	list := c.server.shards.of(t.Table)
	c.out.Array(len(list))
	for _, s := range list {
		c.out.Map(2)
		c.out.BulkString("slots")
		c.out.Array(2 * len(s.slots))
		for _, r := range s.slots {
			c.out.Int(int64(r.first))
			c.out.Int(int64(r.last))
		}
		members := t.reachable(s)
		c.out.BulkString("nodes")
		c.out.Array(len(members))
		for i, m := range members {
			c.shardMember(m, i == 0)
		}
	}
}

func (c *conn) shardMember(m Member, owner bool) {
	host, port := hostPort(m.RESP)
	role := "replica"
	if owner {
		role = "master"
	}
	c.out.Map(7)
	c.out.BulkString("id")
	c.out.BulkString(nodeID(m.Name))
	c.out.BulkString("port")
	c.out.Int(port)
	for _, entry := range [][2]string{{"ip", host}, {"endpoint", host}, {"role", role}} {
		c.out.BulkString(entry[0])
		c.out.BulkString(entry[1])
	}
	c.out.BulkString("replication-offset")
	c.out.Int(0)
	c.out.BulkString("health")
	c.out.BulkString("online")
}

// writeNodes lists every node as a master, for every node owns slots. Who
// follows whom differs from slot to slot, which this format cannot say.
func (c *conn) writeNodes(t Topology) {
	owned := ownedRanges(t.Table)
	var w strings.Builder
	for i, m := range t.Members {
		host, port := hostPort(m.RESP)
		flags := "master"
		if m.Name == t.Self {
			flags = "myself,master"
		}
		fmt.Fprintf(&w, "%s %s:%d@%d %s - 0 0 %d connected", nodeID(m.Name), host, port, busPort(port), flags, i+1)
		for _, r := range owned[m.Name] {
			fmt.Fprintf(&w, " %d-%d", r.first, r.last)
		}
		w.WriteByte('\n')
	}
	c.out.Verbatim("txt", w.String())
}

// ownedRanges returns the ranges of slots that each member owns.
func ownedRanges(t *ring.Table) map[string][]slotRange {
	owned := make(map[string][]slotRange)
	for p := range ring.Partitions {
		first := p * ring.SlotsPerPartition
		ranges := owned[t.Owner(p)]
		if n := len(ranges); n > 0 && ranges[n-1].last == first-1 {
			ranges[n-1].last += ring.SlotsPerPartition
			continue
		}
		owned[t.Owner(p)] = append(ranges, slotRange{first, first + ring.SlotsPerPartition - 1})
	}
	return owned
}

// busPort is where Redis Cluster would have its bus. There is none here, but
// the format has a place for it.
func busPort(port int64) int64 {
	if port+10_000 > 65_535 {
		return 0
	}
	return port + 10_000
}

func (c *conn) clusterInfo([][]byte) {
	t := c.server.cfg.Cluster.Topology()
	n := len(t.Members)
	state, slots := "ok", ring.Slots
	if n == 0 {
		state, slots = "fail", 0
	}
	c.out.Verbatim("txt", fmt.Sprintf("cluster_state:%s\r\ncluster_slots_assigned:%d\r\ncluster_slots_ok:%d\r\ncluster_slots_pfail:0\r\ncluster_slots_fail:0\r\ncluster_known_nodes:%d\r\ncluster_size:%d\r\ncluster_current_epoch:%d\r\ncluster_my_epoch:%d\r\ncluster_stats_messages_sent:0\r\ncluster_stats_messages_received:0\r\ntotal_cluster_links_buffer_limit_exceeded:0\r\n",
		state, slots, slots, n, n, n, n))
}

// clusterReplicas answers what is asked of one node: that it has no replicas of
// its own, or no failure reports.
func (c *conn) clusterReplicas(args [][]byte) {
	t := c.server.cfg.Cluster.Topology()
	known := slices.ContainsFunc(t.Members, func(m Member) bool { return nodeID(m.Name) == string(args[2]) })
	switch {
	case !known:
		c.fail(refusal("ERR Unknown node " + clip(args[2], 128)))
	case is(args[1], "count-failure-reports"):
		c.out.Int(0)
	default:
		c.out.Array(0)
	}
}

func (c *conn) clusterCountKeys(args [][]byte) {
	slot, isInt := resp.ParseInt(args[2])
	switch {
	case !isInt:
		c.fail(errInteger)
	case slot < 0 || slot >= ring.Slots:
		c.fail("ERR Invalid slot")
	default:
		n := int64(0)
		if c.inSlot(int(slot), func(string) bool { n++; return true }) {
			c.out.Int(n)
		}
	}
}

func (c *conn) clusterGetKeys(args [][]byte) {
	slot, isInt := resp.ParseInt(args[2])
	most, isInt2 := resp.ParseInt(args[3])
	switch {
	case !isInt || !isInt2:
		c.fail(errInteger)
	case slot < 0 || slot >= ring.Slots || most < 0:
		c.fail("ERR Invalid slot or number of keys")
	default:
		var keys []string
		found := most == 0 || c.inSlot(int(slot), func(key string) bool {
			keys = append(keys, key)
			return int64(len(keys)) < most
		})
		if found {
			c.bulks(keys)
		}
	}
}

// inSlot calls take with the keys of a slot until it returns false. Where that
// fails it answers the client and returns false.
func (c *conn) inSlot(slot int, take func(key string) bool) bool {
	err := c.sweep(func(ctx context.Context) error {
		at := Cursor{Partition: slot / ring.SlotsPerPartition}
		for end := at.Partition + 1; at.Partition < end; {
			found, err := c.server.cfg.Cluster.Scan(ctx, ScanRequest{From: at, Count: scanChunk, Until: end})
			if err != nil {
				return err
			}
			for _, key := range found.Keys {
				if ring.Slot(key) == slot && !take(key) {
					return nil
				}
			}
			at = found.Next
		}
		return nil
	})
	if err != nil {
		c.fault(err)
	}
	return err == nil
}
