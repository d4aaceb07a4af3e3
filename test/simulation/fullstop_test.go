package simulation

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/inspect"
	"github.com/seed-95a32959/holdfast/session"
)

// saver writes sessions, one after the other, and knows what it was told of each.
type saver struct {
	mu    sync.Mutex // guards what follows
	acked map[string]ackedWrite
	ended map[string]time.Time // logouts that were acknowledged, and when
}

type ackedWrite struct {
	value int
	at    time.Time
}

// run writes until the nodes are gone.
func (s *saver) run(t *testing.T, c *Cluster, worker int) {
	for i := 0; ; i++ {
		h := c.Hosts[(worker+i)%3]
		n, _ := h.Node()
		if n == nil {
			return
		}
		key := fmt.Sprintf("user-%d-%d", worker, i%50)
		kind := session.Put
		if i%50 >= 40 && i%3 == 0 {
			kind = session.Delete
		}
		_, err := n.Sessions().Do(t.Context(), &session.Op{Kind: kind, Key: key, Fields: fields(i + 1), TTL: time.Hour, Revive: true}, session.AckAsync)
		s.mu.Lock()
		switch {
		case err != nil:
		case kind == session.Delete:
			delete(s.acked, key)
			s.ended[key] = time.Now()
		default:
			delete(s.ended, key)
			s.acked[key] = ackedWrite{i + 1, time.Now()}
		}
		s.mu.Unlock()
		time.Sleep(3 * time.Millisecond)
	}
}

// All nodes end at the same moment, under load, and are started again, one of
// them late. What was acknowledged is there, but for the last of it; what was
// ended is not; and nobody is told meanwhile that there is none of a session that
// there is. Where the machines have lost their power, everysec loses a second,
// and always nothing.
func TestFullStop(t *testing.T) {
	t.Parallel()
	for name, x := range map[string]struct {
		fsync string
		power bool
		lost  time.Duration // what was acknowledged so long before is there
	}{
		"processes, everysec": {"everysec", false, 150 * time.Millisecond},
		"power, everysec":     {"everysec", true, 1200 * time.Millisecond},
		"processes, always":   {"always", false, 0},
		"power, always":       {"always", true, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				random := rand.New(rand.NewPCG(1, 2))
				c := New(t, Options{Hosts: 3, Disks: true, Fsync: x.fsync})
				c.StartAll(3)
				_, err := c.Agree(agreeWithin)
				require.NoError(t, err)
				for round := range 3 {
					s := &saver{acked: make(map[string]ackedWrite), ended: make(map[string]time.Time)}
					var writing sync.WaitGroup
					for w := range 4 {
						writing.Go(func() { s.run(t, c, w) })
					}
					time.Sleep(10 * time.Second)
					s.mu.Lock() // of what ends in this moment nobody is told
					stopped := time.Now()
					for _, h := range c.Hosts {
						if x.power {
							h.LosePower(random)
						} else {
							h.Kill()
						}
					}
					s.mu.Unlock()
					writing.Wait()
					time.Sleep(time.Second)
					s.restart(t, c, round, stopped.Add(-x.lost))
				}
			})
		})
	}
}

// restart starts all hosts, one of them late, and reads all that was acknowledged
// before a time until every node serves.
func (s *saver) restart(t *testing.T, c *Cluster, late int, before time.Time) {
	var starting sync.WaitGroup
	for i, h := range c.Hosts {
		starting.Go(func() {
			if i == late%3 {
				time.Sleep(8 * time.Second)
			}
			require.NoError(t, h.Start())
		})
	}
	for range 200 {
		for _, h := range c.Hosts {
			if h.Up() {
				s.check(t, h, before)
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
	starting.Wait()
	_, err := c.Agree(agreeWithin)
	require.NoError(t, err)
	found := 0
	for _, h := range c.Hosts {
		found += s.check(t, h, before)
	}
	require.Greater(t, found, 200, "it serves")
}

// check reads a few keys at a host, and returns how many it has found.
func (s *saver) check(t *testing.T, h *Host, before time.Time) (found int) {
	looked := 0
	for key, w := range s.acked {
		if looked++; looked > 100 {
			break
		}
		value, err := get(t, h, key)
		switch {
		case errors.Is(err, session.ErrUnavailable):
		case err == nil:
			found++
			if w.at.Before(before) {
				var n int
				_, _ = fmt.Sscan(value, &n)
				require.GreaterOrEqual(t, n, w.value, "%s at %s", key, h.Name)
			}
		default:
			require.False(t, w.at.Before(before), "%s at %s: %v", key, h.Name, err)
		}
	}
	for key, at := range s.ended {
		if _, err := get(t, h, key); at.Before(before) && err == nil {
			t.Fatalf("%s at %s is back after its logout", key, h.Name)
		}
	}
	return found
}

// A node whose disk is lost, and who is first, tells nobody that there is none of
// a session which the others have.
func TestEmptiedNodeIsFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := New(t, Options{Hosts: 3, Disks: true})
		c.StartAll(3)
		_, err := c.Agree(agreeWithin)
		require.NoError(t, err)
		keys := fill(t, c, 300)
		time.Sleep(3 * time.Second)
		for _, h := range c.Hosts {
			h.Kill()
		}
		c.Hosts[0].LoseDisk()
		var starting sync.WaitGroup
		for i, h := range c.Hosts {
			starting.Go(func() {
				time.Sleep(time.Duration(i) * 4 * time.Second)
				require.NoError(t, h.Start())
			})
		}
		served := 0
		for range 300 {
			for _, h := range c.Hosts {
				if !h.Up() {
					continue
				}
				for _, key := range keys[:20] {
					if _, err := get(t, h, key); err == nil {
						served++
					} else {
						require.ErrorIs(t, err, session.ErrUnavailable, "%s at %s", key, h.Name)
					}
				}
			}
			time.Sleep(100 * time.Millisecond)
		}
		starting.Wait()
		require.Positive(t, served)
		for _, key := range keys {
			_, err := get(t, c.Hosts[0], key)
			require.NoError(t, err, key)
		}
	})
}

// A node whose disk is older than those of the others answers nothing by it alone
// when all start: it has a session that was ended since, and the one before of
// each that was changed.
func TestOldDisk(t *testing.T) {
	t.Parallel()
	for i := range 6 {
		first, inOrder := i%3, i >= 3
		t.Run(fmt.Sprintf("%d is first, stopped in order before %t", first, inOrder), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := New(t, Options{Hosts: 3, Disks: true, Routers: 1})
				stop := func() {
					time.Sleep(3 * time.Second)
					for _, h := range c.Hosts {
						h.Kill()
					}
				}
				c.StartAll(3)
				_, err := c.Agree(agreeWithin)
				require.NoError(t, err)
				keys := fill(t, c, 100)
				ended, changed := keys[:50], keys[50:]
				if inOrder {
					time.Sleep(3 * time.Second)
					for i := range 3 { // the last one knows of nobody, so it waits for nobody
						_ = c.Hosts[2-i].Drain(t.Context())
					}
				} else {
					stop()
				}
				old := c.Hosts[0].Disk()
				start := func(pause time.Duration) {
					var starting sync.WaitGroup
					for i := range 3 {
						starting.Go(func() {
							time.Sleep(time.Duration(i) * pause)
							require.NoError(t, c.Hosts[(first+i)%3].Start())
						})
					}
					starting.Wait()
				}
				start(0)
				_, err = c.Agree(agreeWithin)
				require.NoError(t, err)
				n, _ := c.Hosts[0].Node()
				for _, key := range ended {
					_, err := n.Sessions().Do(t.Context(), &session.Op{Kind: session.Delete, Key: key}, session.AckReplica)
					require.NoError(t, err)
				}
				for _, key := range changed {
					_, err := put(t, c.Hosts[0], key, 2, false)
					require.NoError(t, err)
				}
				stop()
				c.Hosts[0].SetDisk(old)

				var served atomic.Int64
				var reading sync.WaitGroup
				end := time.Now().Add(5 * time.Second)
				for i := range 3 * 20 { // one that waits for its answer must not hide what others get
					h := c.Hosts[i%3]
					reading.Go(func() {
						for k := i; time.Now().Before(end); k++ {
							time.Sleep(5 * time.Millisecond)
							if !h.Up() {
								continue
							}
							_, err := get(t, h, ended[k%50])
							assert.Error(t, err, "%s at %s is back after its logout", ended[k%50], h.Name)
							switch value, err := get(t, h, changed[k%50]); {
							case err == nil:
								served.Add(1)
								assert.Equal(t, "2", value, "%s at %s", changed[k%50], h.Name)
							default:
								assert.ErrorIs(t, err, session.ErrUnavailable, "%s at %s", changed[k%50], h.Name)
							}
						}
					})
				}
				start(700 * time.Millisecond)
				reading.Wait()
				require.Greater(t, served.Load(), int64(5000))
			})
		})
	}
}

// A node that never comes back is waited for, and then the others go on.
func TestStartWaitEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := New(t, Options{Hosts: 3, Disks: true})
		c.StartAll(3)
		_, err := c.Agree(agreeWithin)
		require.NoError(t, err)
		keys := fill(t, c, 100)
		time.Sleep(3 * time.Second)
		for _, h := range c.Hosts {
			h.Kill()
		}
		began := time.Now()
		for _, h := range c.Hosts[:2] {
			require.NoError(t, h.Start())
		}
		for _, key := range keys[:5] {
			_, err := get(t, c.Hosts[0], key)
			require.ErrorIs(t, err, session.ErrUnavailable)
		}
		require.Less(t, time.Since(began), 29*time.Second)
		time.Sleep(time.Until(began.Add(35 * time.Second)))
		for _, key := range keys {
			_, err := get(t, c.Hosts[0], key)
			require.NoError(t, err, key)
		}
		n, _ := c.Hosts[1].Node()
		missing := inspect.Of(n).Census.Missing()
		require.Len(t, missing, 1)
		require.Equal(t, c.Hosts[2].Name, missing[0].Name, "operators are told")
		require.NoError(t, c.Hosts[2].Start())
		_, err = c.Agree(agreeWithin)
		require.NoError(t, err)
		time.Sleep(2 * time.Second)
		require.Empty(t, inspect.Of(n).Census.Missing())
	})
}
