package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/seed-95a32959/holdfast/test/internal/nursery"
)

const (
	// visitEvery is how often a new user comes to each endpoint.
	visitEvery = 40 * time.Millisecond
	// visitPatience is how long a user waits for an answer.
	visitPatience = 5 * time.Second
	// mostVisits bounds the visits under way at one endpoint. Whoever finds so
	// many there before him is not served.
	mostVisits = 64
)

// visits are of users who come to a cluster for the first time: to each
// endpoint one after the other, whether those before have been answered or not.
// Each stores a session and reads it at another endpoint. They show whether a
// cluster serves where a [load] shows whether what it says is true.
type visits struct {
	members []*member
	doors   []*door // theirs, without a bound: a node where requests wait has to show that
	cancel  context.CancelFunc
	group   sync.WaitGroup

	mu   sync.Mutex // guards what follows
	seen []visit
}

// visit is one request of such a user.
type visit struct {
	sent time.Time
	took time.Duration
	why  string // it was not served, empty if it was
}

// startVisits has users come to these members until stop.
func startVisits(ctx context.Context, members []*member) *visits {
	ctx, cancel := context.WithCancel(ctx)
	v := &visits{members: members, cancel: cancel}
	for _, m := range members {
		v.doors = append(v.doors, newDoor(m.Name, m.Address(nursery.HTTPPort), true))
	}
	for i := range v.doors {
		v.group.Go(func() { v.come(ctx, i) })
	}
	return v
}

// come sends users to one endpoint.
func (v *visits) come(ctx context.Context, at int) {
	tick := time.NewTicker(visitEvery)
	defer tick.Stop()
	slots := make(chan struct{}, mostVisits)
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if v.members[at].door.down.Load() {
			continue
		}
		select {
		case slots <- struct{}{}:
			v.group.Go(func() { v.visit(context.WithoutCancel(ctx), at, n); <-slots })
		default:
			v.note(time.Now(), 0, fmt.Sprintf("%d users wait at %s already", mostVisits, v.members[at].Name))
		}
	}
}

// visit is one user's.
func (v *visits) visit(ctx context.Context, at, n int) {
	name := v.members[at].Name
	path := fmt.Sprintf("/v1/sessions/visit-%s-%d", name, n)
	body := fmt.Sprintf(`{"visit":%d}`, n)
	ack := []string{"replica", "async"}[n/2%2]
	if !v.ask(ctx, at, request{method: "PUT", path: path + "?ttl=10m", ack: ack, body: body, create: true}, "") {
		return
	}
	there := (at + 1 + n%(len(v.members)-1)) % len(v.members)
	if v.members[there].door.down.Load() {
		there = 0
	}
	v.ask(ctx, there, request{method: "GET", path: path}, body)
}

// ask sends a request and notes what came of it, unless this program has ended
// its member meanwhile. A body that is not empty must be what is answered.
func (v *visits) ask(ctx context.Context, at int, r request, body string) (ok bool) {
	m := v.members[at]
	broken := m.door.broken.Load()
	sent := time.Now()
	a, _ := v.doors[at].one(ctx, r, visitPatience)
	why := ""
	if !a.ok() || body != "" && string(a.body) != body {
		why = fmt.Sprintf("%s %s %s at %s: %v", r.method, r.path, r.ack, m.Name, a)
	}
	if why == "" || m.door.broken.Load() == broken && !m.door.down.Load() {
		v.note(sent, a.took, why)
	}
	return why == ""
}

func (v *visits) note(sent time.Time, took time.Duration, why string) {
	if why != "" {
		why = sent.Format("15:04:05.000 ") + why
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.seen = append(v.seen, visit{sent, took, why})
}

// stop ends the visits when those under way are over.
func (v *visits) stop() {
	v.cancel()
	v.group.Wait()
	for _, d := range v.doors {
		d.close()
	}
}

// served is what users got within some time.
type served struct {
	ok, total int
	slowest   time.Duration
	cases     []string // the first ones that were not served
}

// during counts the requests sent from one moment until another.
func (v *visits) during(from, until time.Time) (s served) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, one := range v.seen {
		if one.sent.Before(from) || !one.sent.Before(until) {
			continue
		}
		s.total++
		if one.why == "" {
			s.ok++
			s.slowest = max(s.slowest, one.took)
		} else if len(s.cases) < examples {
			s.cases = append(s.cases, one.why)
		}
	}
	return s
}

// add adds what users got at another time.
func (s *served) add(o served) {
	s.ok, s.total, s.slowest = s.ok+o.ok, s.total+o.total, max(s.slowest, o.slowest)
	s.cases = append(s.cases, o.cases...)[:min(examples, len(s.cases)+len(o.cases))]
}

// share is the part that was served, 0 where nobody came.
func (s served) share() float64 {
	if s.total == 0 {
		return 0
	}
	return float64(s.ok) / float64(s.total)
}

// row adds it to a report: at least so large a share was promised.
func (s served) row(r *report, what string, atLeast float64) {
	r.promise(what, fmt.Sprintf("%.1f %% of %s, the slowest after %s", 100*s.share(), thousands(s.total), short(s.slowest)),
		fmt.Sprintf("%g %% at least", 100*atLeast), s.share() >= atLeast, s.cases)
}
