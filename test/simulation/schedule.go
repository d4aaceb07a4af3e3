package simulation

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"
)

// Step is one fault and its end.
type Step struct {
	After time.Duration // since the step before has ended
	What  string        // one of the kinds below
	Host  int           // whom it happens to; index into Cluster.Hosts
	Other int           // whom a link leads to
	For   time.Duration
}

func (s Step) String() string {
	return fmt.Sprintf("after %v %s host %d other %d for %v", s.After, s.What, s.Host+1, s.Other+1, s.For)
}

// Schedule is a sequence of faults. One begins when the cluster has recovered
// from the one before: the loss of all copies at once is not survived.
type Schedule []Step

func (s Schedule) String() string {
	lines := make([]string, len(s))
	for i, step := range s {
		lines[i] = step.String()
	}
	return strings.Join(lines, "\n")
}

// kind is a sort of fault. Its end leaves every host up and every path open.
type kind struct {
	name   string
	weight int
	split  bool // order is not promised while it lasts
	min    time.Duration
	max    time.Duration
	play   func(c *Cluster, h, other *Host, d time.Duration) error
}

var kinds = []kind{
	{"restart", 4, false, 0, 0, func(_ *Cluster, h, _ *Host, _ time.Duration) error { return h.Restart() }},
	{"crash", 4, false, 200 * time.Millisecond, 8 * time.Second, func(_ *Cluster, h, _ *Host, d time.Duration) error {
		h.Kill()
		time.Sleep(d)
		return h.Start()
	}},
	{"vanish", 2, false, 200 * time.Millisecond, 8 * time.Second, func(c *Cluster, h, _ *Host, d time.Duration) error {
		// As when a machine loses power: nobody is left to refuse or reset.
		c.Cut([]*Host{h}, c.others(h))
		h.Kill()
		time.Sleep(d)
		c.Heal()
		return h.Start()
	}},
	{"pause", 5, false, 100 * time.Millisecond, 5 * time.Second, func(_ *Cluster, h, _ *Host, d time.Duration) error {
		h.Pause()
		time.Sleep(d)
		h.Resume()
		return nil
	}},
	{"stop", 3, false, 500 * time.Millisecond, 5 * time.Second, func(_ *Cluster, h, _ *Host, d time.Duration) error {
		h.PauseInside()
		time.Sleep(d)
		h.Resume()
		return nil
	}},
	{"freeze", 3, false, 100 * time.Millisecond, 5 * time.Second, func(c *Cluster, h, _ *Host, d time.Duration) error {
		// As when a virtual machine is stopped: not even its kernel answers.
		h.Pause()
		c.Cut([]*Host{h}, c.others(h))
		time.Sleep(d)
		c.Heal()
		h.Resume()
		return nil
	}},
	{"drain", 4, false, 0, 3 * time.Second, func(c *Cluster, h, _ *Host, d time.Duration) error {
		if err := h.Drain(c.t.Context()); err != nil {
			return err
		}
		time.Sleep(d)
		return h.Start()
	}},
	{"flap", 1, false, 100 * time.Millisecond, time.Second, func(_ *Cluster, h, _ *Host, d time.Duration) error {
		for range 3 {
			if err := h.Restart(); err != nil {
				return err
			}
			time.Sleep(d)
		}
		return nil
	}},
	{"join", 3, false, 200 * time.Millisecond, 4 * time.Second, func(c *Cluster, _, _ *Host, d time.Duration) error {
		// New members, two at once if there are two, that leave again.
		spare := c.down()
		err := c.atOnce(spare, (*Host).Start)
		time.Sleep(d)
		return errors.Join(err, c.atOnce(spare, func(h *Host) error { return h.Drain(c.t.Context()) }))
	}},
	{"reset", 2, false, 0, 100 * time.Millisecond, func(c *Cluster, h, other *Host, d time.Duration) error {
		// What was under way is lost, and the successor may have it or not.
		for range 10 {
			c.Reset(h, other)
			time.Sleep(d)
		}
		return nil
	}},
	{"lossy", 2, false, 2 * time.Second, 6 * time.Second, func(c *Cluster, _, _ *Host, d time.Duration) error {
		c.history.fault("lossy", "", "")
		c.shape(func(p *Path) { p.Loss, p.Duplicate, p.Jitter = 0.2, 0.1, 20*time.Millisecond })
		time.Sleep(d)
		c.Heal()
		return nil
	}},
	{"slow", 2, false, 2 * time.Second, 6 * time.Second, func(c *Cluster, h, _ *Host, d time.Duration) error {
		c.history.fault("slow", h.Name, "")
		for _, other := range c.others(h) {
			slow := func(p *Path) { p.Delay = 20 * time.Millisecond }
			c.Net.Change(h.Address, other.Address, slow)
			c.Net.Change(other.Address, h.Address, slow)
		}
		time.Sleep(d)
		c.Heal()
		return nil
	}},
	{"clock", 2, false, time.Second, 4 * time.Second, func(_ *Cluster, h, _ *Host, d time.Duration) error {
		h.Skew(900 * time.Millisecond)
		time.Sleep(d)
		h.Skew(-900 * time.Millisecond)
		time.Sleep(d)
		h.Skew(0)
		return nil
	}},
	{"isolate", 4, true, 500 * time.Millisecond, 40 * time.Second, func(c *Cluster, h, _ *Host, d time.Duration) error {
		c.Cut([]*Host{h}, c.others(h))
		time.Sleep(d)
		return c.rejoin()
	}},
	{"halves", 4, true, 500 * time.Millisecond, 40 * time.Second, func(c *Cluster, _, _ *Host, d time.Duration) error {
		half := len(c.Hosts) / 2
		c.Cut(c.Hosts[:half], c.Hosts[half:])
		time.Sleep(d)
		return c.rejoin()
	}},
	{"cut link", 4, true, 500 * time.Millisecond, 20 * time.Second, func(c *Cluster, h, other *Host, d time.Duration) error {
		c.Cut([]*Host{h}, []*Host{other})
		time.Sleep(d)
		return c.rejoin()
	}},
	{"cut one way", 4, true, 500 * time.Millisecond, 20 * time.Second, func(c *Cluster, h, other *Host, d time.Duration) error {
		c.CutOneWay(h, other)
		time.Sleep(d)
		return c.rejoin()
	}},
}

// others returns every host but h.
func (c *Cluster) others(h *Host) (others []*Host) {
	for _, other := range c.Hosts {
		if other != h {
			others = append(others, other)
		}
	}
	return others
}

// down returns the hosts that have no node.
func (c *Cluster) down() (hosts []*Host) {
	for _, h := range c.Hosts {
		if !h.Up() {
			hosts = append(hosts, h)
		}
	}
	return hosts
}

// atOnce does something to hosts at the same moment.
func (c *Cluster) atOnce(hosts []*Host, what func(*Host) error) error {
	var doing sync.WaitGroup
	errs := make([]error, len(hosts))
	for i, h := range hosts {
		doing.Go(func() { errs[i] = what(h) })
	}
	doing.Wait()
	return errors.Join(errs...)
}

// rejoin heals the network and waits until the sides have found each other.
func (c *Cluster) rejoin() error {
	c.Heal()
	return c.AwaitSettled(recoverWithin)
}

// recoverWithin is the time that a cluster under load has to recover from one
// fault; up to a minute of it a node that flaps may be held off the ring.
const recoverWithin = 2 * time.Minute

// Plan draws a schedule of about the given length for a cluster of so many
// hosts, from a seed. split says whether it cuts the network.
func Plan(seed uint64, hosts int, length time.Duration, split bool) (s Schedule) {
	random := rand.New(rand.NewPCG(seed, 2))
	var pool []kind
	for _, k := range kinds {
		if !k.split || split {
			for range k.weight {
				pool = append(pool, k)
			}
		}
	}
	for sum := time.Duration(0); sum < length; {
		k := pool[random.IntN(len(pool))]
		step := Step{What: k.name, Host: random.IntN(hosts), After: time.Duration(random.Int64N(int64(2 * time.Second))), For: k.min}
		step.Other = (step.Host + 1 + random.IntN(hosts-1)) % hosts
		if k.max > k.min {
			// Short ones are as likely as long ones: durations spread evenly
			// by their square root.
			share := random.Float64()
			step.For += time.Duration(share * share * float64(k.max-k.min))
		}
		step.After, step.For = step.After.Round(time.Millisecond), step.For.Round(time.Millisecond)
		sum += step.After + step.For + time.Second
		s = append(s, step)
	}
	return s
}

// Play runs the schedule. Where the cluster does not recover from a fault in
// time, it notes that as a broken promise and stops.
func (c *Cluster) Play(s Schedule) {
	for _, step := range s {
		time.Sleep(step.After)
		if err := c.AwaitSettled(recoverWithin); err != nil {
			c.history.Break("recovery: %v; the next step would have been: %s", err, step)
			return
		}
		if err := c.playStep(step); err != nil {
			c.history.Break("%s: %v", step, err)
			return
		}
	}
}

func (c *Cluster) playStep(step Step) error {
	c.history.noteStep(step.What)
	for _, k := range kinds {
		if k.name != step.What {
			continue
		}
		if k.split {
			c.history.split()
			defer c.history.rejoined()
		}
		return k.play(c, c.Hosts[step.Host], c.Hosts[step.Other], step.For)
	}
	return fmt.Errorf("no kind of fault is called %q", step.What)
}
