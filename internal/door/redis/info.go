package redis

import (
	"fmt"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

var infoVerbs = []verb{
	{name: "info", arity: -1, flags: loading | stale, run: (*conn).info},
	{name: "role", arity: 1, flags: noScript | loading | stale | fast, run: (*conn).role},
}

// infoCache keeps what the node says of itself for a tick: it counts the keys
// for it, and INFO is two words.
type infoCache struct {
	asking atomic.Bool
	last   atomic.Pointer[infoOf]
}

type infoOf struct {
	tick int64
	Info
}

// infoNow returns what the node says of itself, or has said a moment ago.
func (s *Server) infoNow() Info {
	last, now := s.info.last.Load(), s.ticks.Load()
	if last != nil && (last.tick == now || !s.info.asking.CompareAndSwap(false, true)) {
		return last.Info
	}
	next := &infoOf{now, s.cfg.Cluster.Info()}
	s.info.last.Store(next)
	s.info.asking.Store(false)
	return next.Info
}

// section is a part of INFO.
type section struct {
	name  string
	write func(c *conn, w *strings.Builder)
}

var sections = []section{
	{"Server", (*conn).infoServer},
	{"Clients", (*conn).infoClients},
	{"Memory", (*conn).infoMemory},
	{"Persistence", (*conn).infoPersistence},
	{"Stats", (*conn).infoStats},
	{"Replication", (*conn).infoReplication},
	{"Cluster", func(_ *conn, w *strings.Builder) { w.WriteString("cluster_enabled:1\r\n") }},
	{"Keyspace", (*conn).infoKeyspace},
}

// info answers the sections that are asked for, or all.
func (c *conn) info(args [][]byte) {
	var wanted []string
	for _, arg := range args[1:] {
		wanted = append(wanted, lower(arg))
	}
	all := len(wanted) == 0 || slices.ContainsFunc(wanted, func(s string) bool {
		return s == "default" || s == "all" || s == "everything"
	})
	var w strings.Builder
	for _, s := range sections {
		if !all && !slices.Contains(wanted, strings.ToLower(s.name)) {
			continue
		}
		if w.Len() > 0 {
			w.WriteString("\r\n")
		}
		w.WriteString("# " + s.name + "\r\n")
		s.write(c, &w)
	}
	c.out.Verbatim("txt", w.String())
}

func (c *conn) infoServer(w *strings.Builder) {
	info := c.server.infoNow()
	_, port, _ := net.SplitHostPort(c.net.LocalAddr().String()) // "" on a socket without ports
	uptime := int64(info.Uptime / time.Second)
	fmt.Fprintf(w, "redis_version:%s\r\nredis_mode:cluster\r\nholdfast_version:%s\r\nos:%s\r\narch_bits:%d\r\nprocess_id:%d\r\nrun_id:%s\r\ntcp_port:%s\r\nserver_time_usec:%d\r\nuptime_in_seconds:%d\r\nuptime_in_days:%d\r\n",
		redisVersion, info.Version, runtime.GOOS, 32<<(^uint(0)>>63), os.Getpid(), c.server.runID, port, time.Now().UnixMicro(), uptime, uptime/(24*3600))
}

func (c *conn) infoClients(w *strings.Builder) {
	s := c.server.Stats()
	fmt.Fprintf(w, "connected_clients:%d\r\ncluster_connections:0\r\nmaxclients:%d\r\nblocked_clients:0\r\ntracking_clients:0\r\npubsub_clients:%d\r\n",
		s.Clients, c.server.cfg.MaxClients, s.Subscribers)
}

func (c *conn) infoMemory(w *strings.Builder) {
	info := c.server.infoNow()
	fmt.Fprintf(w, "used_memory:%d\r\nused_memory_human:%s\r\nmaxmemory:%d\r\nmaxmemory_human:%s\r\nmaxmemory_policy:noeviction\r\n",
		info.Memory, human(info.Memory), info.MemoryLimit, human(info.MemoryLimit))
}

// human is a number of bytes as Redis writes it for people.
func human(n int64) string {
	const units = "BKMGTP"
	f, unit := float64(n), 0
	for f >= 1024 && unit < len(units)-1 {
		f, unit = f/1024, unit+1
	}
	if unit == 0 {
		return fmt.Sprintf("%dB", n)
	}
	return fmt.Sprintf("%.2f%c", f, units[unit])
}

func (c *conn) infoPersistence(w *strings.Builder) {
	w.WriteString("loading:0\r\nasync_loading:0\r\nrdb_bgsave_in_progress:0\r\naof_enabled:0\r\naof_rewrite_in_progress:0\r\n")
}

func (c *conn) infoStats(w *strings.Builder) {
	s := c.server.Stats()
	fmt.Fprintf(w, "total_connections_received:%d\r\ntotal_commands_processed:%d\r\ntotal_error_replies:%d\r\nrejected_connections:%d\r\nclient_output_buffer_limit_disconnections:%d\r\npubsub_channels:%d\r\npubsub_patterns:%d\r\n",
		s.Accepted+s.Rejected, s.Commands, s.Errors, s.Rejected, s.CutOff, c.server.hub.count(channels), c.server.hub.count(patterns))
}

func (c *conn) infoReplication(w *strings.Builder) {
	fmt.Fprintf(w, "role:master\r\nconnected_slaves:0\r\nmaster_failover_state:no-failover\r\nmaster_replid:%s\r\nmaster_repl_offset:0\r\n", c.server.runID)
}

func (c *conn) infoKeyspace(w *strings.Builder) {
	if info := c.server.infoNow(); info.Keys > 0 {
		fmt.Fprintf(w, "db0:keys=%d,expires=%d,avg_ttl=0\r\n", info.Keys, info.Expires)
	}
}

func (c *conn) role([][]byte) {
	c.out.Array(3)
	c.out.BulkString("master")
	c.out.Int(0)
	c.out.Array(0)
}
