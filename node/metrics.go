package node

import (
	"bufio"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/seed-95a32959/holdfast/internal/admin"
)

// metrics are this member's figures for Prometheus. All but the time that
// requests take are read from the stats when they are asked for, so they cost
// nothing before. No key, value or user is ever in a label.
type metrics struct {
	registry *prometheus.Registry
	answers  [6]prometheus.Observer // by class of the status: 1 for 101, to 5
}

func newMetrics(n *Node) *metrics {
	m := &metrics{registry: prometheus.NewRegistry()}
	took := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "holdfast_http_answer_seconds",
		Help:    "From a request's headers to those of its answer at the public door, by class of the status.",
		Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5},
	}, []string{"code"})
	for class, name := range []string{1: "1xx", "2xx", "3xx", "4xx", "5xx"} {
		if class > 0 {
			m.answers[class] = took.WithLabelValues(name)
		}
	}
	m.registry.MustRegister(took, statsCollector{n}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// answered is told of each answer when it begins.
func (m *metrics) answered(status int, took time.Duration) {
	if class := status / 100; class < len(m.answers) {
		m.answers[class].Observe(took.Seconds())
	}
}

// measured takes the time of each answer.
func (m *metrics) measured(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a := &answering{ResponseWriter: w, metrics: m, begun: time.Now()}
		next.ServeHTTP(a, r)
		a.begin(http.StatusOK) // what the server answers for a handler that wrote nothing
	})
}

// answering sees the first of an answer.
type answering struct {
	http.ResponseWriter
	metrics *metrics
	begun   time.Time
	counted bool
}

func (a *answering) begin(status int) {
	if a.counted || status < 200 && status != http.StatusSwitchingProtocols {
		return // 100 and 103 come before the answer
	}
	a.counted = true
	a.metrics.answered(status, time.Since(a.begun))
}

func (a *answering) WriteHeader(status int) {
	a.begin(status)
	a.ResponseWriter.WriteHeader(status)
}

func (a *answering) Write(b []byte) (int, error) {
	a.begin(http.StatusOK)
	return a.ResponseWriter.Write(b)
}

// Flush and Hijack are for handlers that ask for them by their interfaces.
func (a *answering) Flush() {
	a.begin(http.StatusOK)
	_ = http.NewResponseController(a.ResponseWriter).Flush() // the interface knows no error
}

func (a *answering) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffer, err := http.NewResponseController(a.ResponseWriter).Hijack()
	if err == nil {
		a.begin(http.StatusSwitchingProtocols)
	}
	return conn, buffer, err
}

// Unwrap lets http.ResponseController find what is not here, such as deadlines.
func (a *answering) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// gauge is one figure that goes up and down.
type gauge struct {
	desc *prometheus.Desc
	of   func(s *admin.Stats) float64
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
	clientsDesc   = describe("http_clients", "Connections to the public door.")
	bodiesDesc    = describe("http_body_bytes", "Bytes of bodies that the session API reads, or holds while it carries them out.")
	partitionDesc = describe("partitions", "Partitions of this node: owned by the ring, served warm, still cold.", "state")

	// nodeGauges are only a node's; a router holds nothing.
	nodeGauges = []gauge{
		{describe("sessions", "Live sessions held here, copies included."), func(s *admin.Stats) float64 { return float64(s.Sessions) }},
		{describe("tombstones", "Deleted sessions that are remembered, so that they stay deleted."), func(s *admin.Stats) float64 { return float64(s.Tombstones) }},
		{describe("session_bytes", "Bytes of the sessions and tombstones held here."), func(s *admin.Stats) float64 { return float64(s.Bytes) }},
		{describe("tombstones_compacted", "Tombstones of which only a hash is kept, because memory is short; tombstones does not have them."), func(s *admin.Stats) float64 { return float64(s.Compacted) }},
		{describe("tombstone_bytes", "Bytes of the tombstones held here; session_bytes has them too."), func(s *admin.Stats) float64 { return float64(s.TombstoneBytes) }},
		{describe("memory_limit_bytes", "What -memory allows for sessions; 0 for no limit."), func(s *admin.Stats) float64 { return float64(s.MemoryLimit) }},
		{describe("memory_full", "1 while sessions take so much of -memory that other members are asked to let none grow of which this one holds the copy."), func(s *admin.Stats) float64 { return truth(s.Full) }},
		{describe("below_target", "Keys served here that fewer members hold than should."), func(s *admin.Stats) float64 { return float64(s.BelowTarget) }},
		{describe("replication_lag_seconds", "Age of the oldest change that a copy lacks: what would be lost with this node."), func(s *admin.Stats) float64 { return s.Lag / 1000 }},
		{describe("replication_dirty", "Changes that copies lack."), func(s *admin.Stats) float64 { return float64(s.Dirty) }},
		{describe("longest_hold_seconds", "Longest time that one partition was held within the last minute or two; 0 for less than 0.1 ms."), func(s *admin.Stats) float64 { return s.LongestHold / 1000 }},
		{describe("redis_clients", "Connections to the Redis door."), func(s *admin.Stats) float64 { return float64(s.RedisClients) }},
		{describe("redis_buffer_bytes", "Bytes that connections to the Redis endpoint hold: commands, transactions, answers and messages."), func(s *admin.Stats) float64 { return float64(s.RedisBufferBytes) }},
		{describe("redis_subscribers", "Connections to the Redis door that subscribe to something."), func(s *admin.Stats) float64 { return float64(s.RedisSubscribers) }},
		{describe("split_suspected", "1 while under half of the last stable membership is there."), func(s *admin.Stats) float64 { return truth(s.Split) }},
	}
)

// statsCollector reads the stats and lists the counters for each scrape.
type statsCollector struct{ node *Node }

// Describe implements prometheus.Collector. It tells nothing, which makes the
// collector an unchecked one: which figures there are depends on the role.
func (statsCollector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c statsCollector) Collect(ch chan<- prometheus.Metric) {
	n := c.node
	set := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	s := n.figures()
	set(infoDesc, 1, n.id.Name, n.id.Boot, string(n.cfg.Role), n.cfg.Zone)
	set(clientsDesc, float64(s.HTTPClients))
	set(bodiesDesc, float64(s.HTTPBodyBytes))
	for key, count := range n.countMembers() {
		set(membersDesc, float64(count), key.role, key.state)
	}
	for why, count := range n.members.Refused() {
		ch <- prometheus.MustNewConstMetric(gossipDesc, prometheus.CounterValue, float64(count), why)
	}
	if n.cfg.Role == RoleNode {
		for state, count := range map[string]int{"owned": s.Partitions.Owned, "warm": s.Partitions.Warm, "cold": s.Partitions.Cold} {
			set(partitionDesc, float64(count), state)
		}
		for _, g := range nodeGauges {
			set(g.desc, g.of(&s))
		}
		for why, count := range n.mesh.Refusals() {
			ch <- prometheus.MustNewConstMetric(refusedDesc, prometheus.CounterValue, float64(count), why)
		}
	}
	n.counts.Each(func(name, help string, value int64) {
		ch <- prometheus.MustNewConstMetric(describe(name+"_total", help), prometheus.CounterValue, float64(value))
	})
}

type standing struct {
	role, state string
}

// countMembers counts the members by their role and state. Earlier boots of a
// member that runs do not count.
func (n *Node) countMembers() map[standing]int {
	counts := make(map[standing]int)
	view := n.View()
	for _, m := range view.Members {
		if a := n.ringMember(view, m); a.State != "superseded" {
			counts[standing{a.Role, a.State}]++
		}
	}
	return counts
}
