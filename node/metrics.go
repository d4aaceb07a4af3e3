package node

import (
	"bufio"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
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
	of   func(s *statsAnswer) float64
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
		{describe("sessions", "Live sessions held here, copies included."), func(s *statsAnswer) float64 { return float64(s.Sessions) }},
		{describe("tombstones", "Deleted sessions that are remembered, so that they stay deleted."), func(s *statsAnswer) float64 { return float64(s.Tombstones) }},
		{describe("session_bytes", "Bytes of the sessions and tombstones held here."), func(s *statsAnswer) float64 { return float64(s.Bytes) }},
		{describe("tombstones_compacted", "Tombstones of which only a hash is kept, because memory is short; tombstones does not have them."), func(s *statsAnswer) float64 { return float64(s.Compacted) }},
		{describe("tombstone_bytes", "Bytes of the tombstones held here; session_bytes has them too."), func(s *statsAnswer) float64 { return float64(s.TombstoneBytes) }},
		{describe("memory_limit_bytes", "What -memory allows for sessions; 0 for no limit."), func(s *statsAnswer) float64 { return float64(s.MemoryLimit) }},
		{describe("memory_full", "1 while sessions take so much of -memory that other members are asked to let none grow of which this one holds the copy."), func(s *statsAnswer) float64 { return truth(s.Full) }},
		{describe("below_target", "Keys served here that fewer members hold than should."), func(s *statsAnswer) float64 { return float64(s.BelowTarget) }},
		{describe("replication_lag_seconds", "Age of the oldest change that a copy lacks: what would be lost with this node."), func(s *statsAnswer) float64 { return s.Lag / 1000 }},
		{describe("replication_dirty", "Changes that copies lack."), func(s *statsAnswer) float64 { return float64(s.Dirty) }},
		{describe("longest_hold_seconds", "Longest time that one partition was held within the last minute or two; 0 for less than 0.1 ms."), func(s *statsAnswer) float64 { return s.LongestHold / 1000 }},
		{describe("redis_clients", "Connections to the Redis door."), func(s *statsAnswer) float64 { return float64(s.RedisClients) }},
		{describe("redis_buffer_bytes", "Bytes that connections to the Redis endpoint hold: commands, transactions, answers and messages."), func(s *statsAnswer) float64 { return float64(s.RedisBufferBytes) }},
		{describe("redis_subscribers", "Connections to the Redis door that subscribe to something."), func(s *statsAnswer) float64 { return float64(s.RedisSubscribers) }},
		{describe("split_suspected", "1 while under half of the last stable membership is there."), func(s *statsAnswer) float64 { return truth(s.Split) }},
	}

	// counterDescs has every counter of the stats by its name there.
	counterDescs = makeCounterDescs(map[string]string{
		"blind":                 "Misses that were not answered as such, because all holders were out of reach.",
		"claims_busy":           "Partitions that could not be given up at once to whoever claimed them, because an operation held them.",
		"claims_far":            "Epochs of claims that were too far above all known ones to count.",
		"copies_merged":         "Records merged that other members sent.",
		"copies_no_room":        "Records for which another member had no memory; copies_quarantined has them too.",
		"copies_quarantined":    "Records that a member refused to take, and that are left out until they change.",
		"copies_refused":        "Records that were not taken from other members.",
		"copies_refused_full":   "Records that were not taken from other members because memory is short.",
		"copies_sent":           "Records sent to other members.",
		"copy_batches":          "Batches of records sent to other members.",
		"copy_batches_failed":   "Batches that were not confirmed, and whose records are sent again.",
		"degraded":              "Operations served without being able to reach any other node.",
		"deletes_nowhere":       "Deletes of sessions that no member has, which left no tombstone.",
		"events_missed":         "Events that a slow reader of the event log did not get.",
		"failovers":             "Requests that came here because their owner was refused.",
		"fetched_through":       "Keys fetched from other holders before they were served, in cold partitions.",
		"gossip_refused":        "Packets and connections of gossip that no member of this cluster sends; gossip_refused_by_reason_total says more.",
		"forwarded":             "Operations sent to another member.",
		"http_bodies_evicted":   "Large bodies of requests to the session API given up because others needed the room.",
		"http_bodies_refused":   "Times that the body of a request to the session API found no room.",
		"http_heads_cut_off":    "Connections cut off because the heads of requests took all the room that there is, theirs the most.",
		"http_rejected":         "Connections refused at the public door, because too many were open.",
		"http_rejected_address": "Connections refused at the public door, because too many were open from their address.",
		"key_events_dropped":    "Keyspace events for which the queue had no room.",
		"mended_views":          "Exchanges of members because rings differed, or a member did not know this one.",
		"messages_untold":       "Published messages that a member could not be told in time.",
		"peer_bytes_in":         "Bytes read from peer connections.",
		"peer_bytes_out":        "Bytes written to peer connections.",
		"proxied":               "Requests passed on to members.",
		"proxy_broken":          "Answers that broke off at a member.",
		"proxy_cancelled":       "Requests whose client left before the answer.",
		"proxy_errors":          "Requests that no member answered.",
		"proxy_failovers":       "Requests that went to the heir.",
		"hops_unproven":         "Requests whose sender claims to be a member and does not prove it: a stranger, or a member with another -secret-file.",
		"proxy_malformed":       "Requests refused because their head can be read in two ways, or in none.",
		"proxy_refused":         "Members that refused a connection.",
		"proxy_retries":         "Requests sent a second time.",
		"proxy_silent":          "Members that did not answer in time.",
		"redis_accepted":        "Connections accepted at the Redis door.",
		"redis_commands":        "Commands run at the Redis door.",
		"redis_cut_off":         "Clients of the Redis door cut off, because they did not read their answers.",
		"redis_errors":          "Commands answered with an error.",
		"redis_idle":            "Clients of the Redis door cut off, because they had been idle for long.",
		"redis_messages":        "Messages given to subscribers.",
		"redis_panics":          "Connections of the Redis door that ended in a panic.",
		"redis_protocol_errors": "Clients of the Redis door cut off, because they did not keep to its protocol.",
		"redis_rejected":        "Connections refused at the Redis door, because too many were open.",
		"refused_full":          "Writes refused because memory is short, here or at another holder of a copy.",
		"redis_crowded":         "Of the connections refused at the Redis endpoint, those of addresses that had too many.",
		"redis_wrong_passwords": "AUTHs and HELLO AUTHs with a wrong password.",
		"redis_unseen_auths":    "AUTHs refused without a look at the password, because too many of their address were waiting.",
		"redis_auth_timeouts":   "Connections to the Redis endpoint closed because they had not authenticated in time.",
		"redis_abandoned":       "Commands broken off because their clients had gone.",
		"redis_buffers_refused": "Redis connections closed for holding most of the buffers when these were full.",
		"redis_evicted":         "Redis connections closed because others needed their buffers.",
		"refused_hosts":         "HTTP requests refused at the session API and the operator's door because their Host is not one of the names of -http-host or -admin-host.",
		"refused_sites":         "HTTP requests refused there because the page of another site has sent them.",
		"refused_visitors":      "HTTP requests refused because a visitor's cookie came with them, and the session is another's.",
		"refused_lagging":       "New sessions refused because copies are too far behind.",
		"refused_late":          "Requests refused because they came too late to be run.",
		"refused_ops":           "Forwarded operations refused because too many wait.",
		"refused_peers":         "Connections refused at the peer port; peer_refused_total says why.",
		"relayed":               "Operations sent to a third member because the owner is silent; forwarded has them too.",
		"repeats_unfenced":      "Repeated operations of which an attempt before would not be refused, because too many were repeated.",
		"requests_ended":        "Requests of a Go program whose changes were dropped, because their session had been ended.",
		"requests_unsaved":      "Requests of a Go program whose changes could not be written.",
		"requests_unslid":       "Requests of a Go program that could not slide the expiry of their session.",
		"repair_mended":         "Partitions whose copies differed and were made equal.",
		"repair_pulled":         "Records that repair fetched.",
		"repair_pushed":         "Records that repair sent.",
		"served":                "Operations run on this node's store.",
		"slowed":                "Writes slowed down because copies are behind.",
		"stood_still":           "Times that this process stood still.",
		"succeeded":             "Partitions that others had claimed while this node was out of touch.",
		"tombstones_dropped":    "Tombstones forgotten before their time because memory is short: their sessions could come back with a member that was away.",
		"unavailable":           "Operations that found no owner in time.",
		"unconfirmed_deletes":   "Deletes that not every reachable copy confirmed in time.",
		"unleased":              "Times that nobody answered an owner who asked for its lease.",
		"writes_busy":           "Writes to large sessions refused, because others had written first each time.",
		"writes_retried":        "Runs of a transaction repeated, because another had written first.",
	})
)

func makeCounterDescs(help map[string]string) map[string]*prometheus.Desc {
	descs := make(map[string]*prometheus.Desc, len(help))
	for name, text := range help {
		descs[name] = describe(name+"_total", text)
	}
	return descs
}

// statsCollector reads the stats once for each scrape.
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
	s := n.statsAnswer()
	set(infoDesc, 1, n.id.Name, n.id.Boot, string(n.cfg.Role), n.cfg.Zone)
	set(clientsDesc, float64(s.HTTPClients))
	set(bodiesDesc, float64(s.HTTPBodyBytes))
	for key, count := range n.countMembers() {
		set(membersDesc, float64(count), string(key.role), key.state)
	}
	if n.gossip != nil {
		for why, count := range n.gossip.refused.byReason() {
			ch <- prometheus.MustNewConstMetric(gossipDesc, prometheus.CounterValue, float64(count), why)
		}
	}
	if n.cfg.Role == RoleNode {
		for state, count := range map[string]int{"owned": s.Partitions.Owned, "warm": s.Partitions.Warm, "cold": s.Partitions.Cold} {
			set(partitionDesc, float64(count), state)
		}
		for _, g := range nodeGauges {
			set(g.desc, g.of(&s))
		}
		for why, count := range n.gate.refused {
			ch <- prometheus.MustNewConstMetric(refusedDesc, prometheus.CounterValue, float64(count.Load()), string(why))
		}
	}
	for name, v := range s.Counters {
		if d := counterDescs[name]; d != nil {
			ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v))
		}
	}
}

type standing struct {
	role  Role
	state string
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
