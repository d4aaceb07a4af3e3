package admin

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/seed-95a32959/holdfast/internal/member"
)

// metrics are the member's figures for Prometheus. All but the time that
// requests take are read from the stats when they are asked for, so they cost
// nothing before. No key, value or user is ever in a label.
type metrics struct {
	registry *prometheus.Registry
	answers  [6]prometheus.Observer // by class of the status: 1 for 101, to 5
}

func newMetrics(e *Endpoint) *metrics {
	m := &metrics{registry: prometheus.NewRegistry()}
	took := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "holdfast_http_answer_seconds",
		Help:    "From a request's headers to those of its answer at the public endpoint, by class of the status.",
		Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5},
	}, []string{"code"})
	for class, name := range []string{1: "1xx", "2xx", "3xx", "4xx", "5xx"} {
		if class > 0 {
			m.answers[class] = took.WithLabelValues(name)
		}
	}
	m.registry.MustRegister(took, collector{e}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// collector reads the stats and lists the counters for each scrape.
type collector struct{ endpoint *Endpoint }

// Describe implements prometheus.Collector. It tells nothing, which makes the
// collector an unchecked one: which figures there are depends on the role.
func (collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	cfg := &c.endpoint.cfg
	set := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	count := func(d *prometheus.Desc, byReason map[string]int64) {
		for why, n := range byReason {
			ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), why)
		}
	}
	s := c.endpoint.figures()
	set(infoDesc, 1, cfg.Self.Name, cfg.Self.Boot, string(cfg.Role), cfg.Zone)
	set(clientsDesc, float64(s.HTTPClients))
	set(bodiesDesc, float64(s.HTTPBodyBytes))
	set(lostDesc, float64(s.SessionsLost))
	set(shortDesc, float64(s.MemoryShort))
	missing := map[string]int{string(member.RoleNode): 0, string(member.RoleRouter): 0}
	for _, m := range s.Missing {
		missing[m.Role]++
	}
	for role, n := range missing {
		set(missingDesc, float64(n), role)
	}
	for key, n := range countMembers(cfg.View()) {
		set(membersDesc, float64(n), key.role, key.state)
	}
	count(gossipDesc, cfg.GossipRefused())
	if cfg.Node != nil {
		for state, n := range map[string]int{"owned": s.Partitions.Owned, "warm": s.Partitions.Warm, "cold": s.Partitions.Cold} {
			set(partitionDesc, float64(n), state)
		}
		for _, g := range nodeGauges {
			set(g.desc, g.of(&s))
		}
		count(refusedDesc, cfg.Node.PeersRefused())
	}
	cfg.Counters.Each(func(name, help string, value int64) {
		ch <- prometheus.MustNewConstMetric(describe(name+"_total", help), prometheus.CounterValue, float64(value))
	})
}

type standing struct {
	role, state string
}

// countMembers counts the members by their role and state. Earlier boots of a
// member that runs do not count.
func countMembers(view *member.View) map[standing]int {
	counts := make(map[standing]int)
	for _, m := range view.Members {
		if a := onRing(view, m); a.State != superseded {
			counts[standing{a.Role, a.State}]++
		}
	}
	return counts
}
