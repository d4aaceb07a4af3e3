package upstream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9/logging"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/seed-95a32959/holdfast/internal/clock"
	"github.com/seed-95a32959/holdfast/internal/metric"
	"github.com/seed-95a32959/holdfast/internal/rdb"
	"github.com/seed-95a32959/holdfast/internal/upstream/upstreamtest"
	"github.com/seed-95a32959/holdfast/session"
)

func TestMain(m *testing.M) {
	logging.Disable()
	// The library's, which looks once a second whether its pool was closed.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}

// rig is an Upstream, and the Redis that it asks.
type rig struct {
	*Upstream
	t     *testing.T
	redis *upstreamtest.Redis
	all   *metric.Set
}

// inBubble runs a test in which time passes only where all wait.
func inBubble(t *testing.T, f func(r *rig)) {
	synctest.Test(t, func(t *testing.T) {
		r := &rig{t: t, redis: upstreamtest.New(t), all: new(metric.Set)}
		u, err := New(Config{
			URL: "redis://old:6379", Dial: r.redis.Dial,
			Clock: clock.New(time.Now), Log: slog.New(slog.DiscardHandler), Counters: r.all,
		})
		require.NoError(t, err)
		r.Upstream = u
		f(r)
		r.redis.Answer(nil)
		require.NoError(t, u.Close())
	})
}

func (r *rig) counted(name string) int64 { return r.all.Values()["upstream_"+name] }

// take takes keys over, and returns what was put, as "key payload end".
func (r *rig) take(keys ...string) (got []string) {
	moved := r.TakeOver(r.t.Context(), keys, func(key, payload string, end int64) error {
		v, bad := rdb.Decode(payload, rdb.Limits{Bytes: 100, Entries: 10})
		if bad != nil {
			return bad
		}
		got = append(got, fmt.Sprint(key, " ", v.Text, " ", end))
		return nil
	})
	require.NoError(r.t, moved)
	return got
}

// runs has the deletes run, until the function that it returns is called.
func (r *rig) runs() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() { r.Run(ctx) })
	return func() { cancel(); done.Wait() }
}

func TestWhatIsThereIsTakenOver(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.redis.Set("ends", "a", 90*time.Second)
		r.redis.Set("stays", "b", 0)
		now := time.Now().UnixMilli()
		require.Equal(t, []string{fmt.Sprint("ends a ", now+90_000), "stays b 0"}, r.take("ends", "none", "stays", "ends"))
		require.Equal(t, []int64{3, 2, 1}, []int64{r.counted("asked"), r.counted("taken"), r.counted("absent")})
		require.EqualValues(t, 2, r.Stats().Lately)
		time.Sleep(LatelyFor)
		require.Zero(t, r.Stats().Lately)
		require.EqualValues(t, 2, r.Stats().Taken)
		require.Equal(t, "old:6379", r.Stats().Address)
	})
}

// Whoever asks for a key that is asked for already waits until it is here.
func TestOneQuestionForAllWhoWait(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.redis.Set("k", "v", 0)
		answer := make(chan struct{})
		r.redis.Answer(func([]string) string { <-answer; return "" })
		var placed atomic.Bool
		errMoved := fmt.Errorf("put: %w", session.ErrNotServed)
		var puts, early, told atomic.Int32
		var callers sync.WaitGroup
		for range 20 {
			callers.Go(func() {
				moved := r.TakeOver(r.t.Context(), []string{"k"}, func(string, string, int64) error {
					puts.Add(1)
					time.Sleep(time.Second)
					placed.Store(true)
					return errMoved
				})
				if errors.Is(moved, errMoved) {
					told.Add(1)
				}
				if !placed.Load() {
					early.Add(1)
				}
			})
		}
		synctest.Wait()
		ctx, cancel := context.WithCancel(r.t.Context())
		cancel()
		require.NoError(r.t, r.TakeOver(ctx, []string{"k"}, nil), "has left, and waits for nobody")
		close(answer)
		callers.Wait()
		require.Equal(t, 1, r.redis.Count("DUMP", "k"))
		require.EqualValues(t, 1, puts.Load())
		require.Zero(t, early.Load(), "they would miss it")
		require.EqualValues(t, 20, told.Load(), "all look elsewhere")
	})
}

func TestAMissIsRememberedBriefly(t *testing.T) {
	inBubble(t, func(r *rig) {
		for range 5 {
			require.Empty(t, r.take("k"))
		}
		require.Equal(t, 1, r.redis.Count("DUMP", "k"))
		r.redis.Set("k", "v", 0)
		time.Sleep(missTime - 1)
		require.Empty(t, r.take("k"))
		time.Sleep(time.Nanosecond)
		require.Len(t, r.take("k"), 1)
	})
}

func TestMissesTakeNoMoreRoom(t *testing.T) {
	m := newMisses()
	for i := range 2 * missSlots {
		m.add(fmt.Sprint(i), time.Second)
	}
	require.Len(t, m.slots, missSlots)
	last := fmt.Sprint(2*missSlots - 1)
	require.True(t, m.has(last, time.Second-1))
	require.False(t, m.has(last, time.Second))
	require.False(t, m.has("other", 0))
}

// What cannot be held here is counted by why, and not asked for again at once.
func TestWhatIsNotTaken(t *testing.T) {
	list := "\x01\x01\x01a" // of type 1
	for name, c := range map[string]struct {
		err   error
		again bool
	}{
		"unsupported": {fmt.Errorf("a list: %w", rdb.ErrKind), false},
		"too_large":   {fmt.Errorf("put: %w", session.ErrTooLarge), false},
		"unreadable":  {rdb.ErrChecksum, false},
		"no_room":     {session.ErrFull, true},
		"superseded":  {session.ErrPrecondition, true},
		"unplaced":    {session.ErrUnavailable, true},
	} {
		inBubble(t, func(r *rig) {
			r.redis.SetPayload("k", list, 0)
			put := func(string, string, int64) error { return c.err }
			for range 2 {
				require.NoError(t, r.TakeOver(r.t.Context(), []string{"k"}, put))
			}
			asked := 1
			if c.again {
				asked = 2
			}
			require.Equal(t, asked, r.redis.Count("DUMP", "k"), name)
			require.EqualValues(t, asked, r.counted(name))
			require.Zero(t, r.counted("taken"))
		})
	}
}

// A Redis that does not answer costs a few requests their patience, and then
// one a second.
func TestASilentRedisIsNotWaitedFor(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.redis.Set("k", "v", 0)
		back := make(chan struct{})
		r.redis.Answer(func([]string) string { <-back; return "" })
		begin := time.Now()
		for range failuresToOpen {
			require.Empty(t, r.take("k"))
		}
		require.Equal(t, failuresToOpen*askTime, time.Since(begin))
		require.ErrorContains(t, r.Stats().Err, "no answer within 250ms")
		begin = time.Now()
		for range 100 {
			require.Empty(t, r.take("k"))
		}
		require.Zero(t, time.Since(begin))
		require.EqualValues(t, failuresToOpen, r.counted("failed"))
		require.EqualValues(t, 100, r.counted("skipped"))

		time.Sleep(openFor)
		require.Empty(t, r.take("k"), "it tries")
		require.EqualValues(t, failuresToOpen+1, r.counted("failed"))
		require.Empty(t, r.take("k"))
		require.EqualValues(t, 101, r.counted("skipped"), "one alone tries")

		close(back)
		time.Sleep(openFor)
		require.Len(t, r.take("k"), 1)
		require.NoError(t, r.Stats().Err)
	})
}

// An error is a miss that is not remembered: it may pass.
func TestAnErrorIsAMiss(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.redis.Set("k", "v", 0)
		r.redis.Answer(func([]string) string { return "-LOADING Redis is loading the dataset in memory\r\n" })
		require.Empty(t, r.take("k"))
		require.EqualValues(t, 1, r.counted("failed"))
		r.redis.Answer(nil)
		require.Len(t, r.take("k"), 1)
		require.Zero(t, r.breaker.failures)
	})
}

// Until the delete is confirmed the old state must not come back.
func TestAnEndHereIsAnEndThere(t *testing.T) {
	inBubble(t, func(r *rig) {
		defer r.runs()()
		r.redis.Set("k", "old", 0)
		r.redis.Answer(func(args []string) string {
			if args[0] == "del" {
				return "-READONLY You can't write against a read only replica.\r\n"
			}
			return ""
		})
		r.Ended("k")
		time.Sleep(time.Minute)
		require.Empty(t, r.take("k"))
		require.Zero(t, r.redis.Count("DUMP", "k"))
		require.Greater(t, r.counted("deletes_failed"), int64(5), "it is tried again")
		require.Less(t, r.counted("deletes_failed"), int64(30), "and not all the time")
		require.Equal(t, 1, r.Stats().Ending)

		r.redis.Answer(nil)
		time.Sleep(2 * retryMax)
		require.False(t, r.redis.Has("k"))
		require.Zero(t, r.Stats().Ending)
		require.EqualValues(t, 1, r.counted("deleted"))
		require.Empty(t, r.take("k"))
		require.Equal(t, 1, r.redis.Count("DUMP", "k"), "it may be asked for again")
	})
}

func TestADeleteThatIsGivenUpIsNeverAskedFor(t *testing.T) {
	inBubble(t, func(r *rig) {
		defer r.runs()()
		r.redis.Set("k", "old", 0)
		r.redis.Answer(func(args []string) string {
			if args[0] == "del" {
				return "-NOPERM this user has no permissions to run the 'del' command\r\n"
			}
			return ""
		})
		r.Ended("k")
		time.Sleep(endFor + time.Minute)
		require.Zero(t, r.Stats().Ending)
		require.EqualValues(t, 1, r.Stats().Dropped)
		require.Empty(t, r.take("k"))
		require.Zero(t, r.redis.Count("DUMP", "k"))
	})
}

func TestTheQueueOfEndsIsBounded(t *testing.T) {
	inBubble(t, func(r *rig) {
		for i := range mostEnding {
			r.Ended(fmt.Sprint(i))
		}
		r.Ended("0") // waits already
		require.Zero(t, r.Stats().Dropped)
		r.redis.Set("k", "old", 0)
		r.BeginSweep()
		r.EndSweep([]string{"k"})
		require.EqualValues(t, 1, r.Stats().Dropped)
		require.Equal(t, mostEnding, r.Stats().Ending)
		require.Empty(t, r.take("k"))
		r.runs()() // what is left when a node stops
		require.Zero(t, r.Stats().Ending)
	})
}

// What ends here while it is asked for stays ended.
func TestAnEndBeatsTheTakeOver(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.redis.Set("k", "old", 0)
		r.redis.Set("other", "old", 0)
		var held []bool
		require.NoError(t, r.TakeOver(r.t.Context(), []string{"k", "other"}, func(key, _ string, _ int64) error {
			if key == "k" {
				r.Ended("k")
			}
			held = append(held, r.Hold(key))
			if held[len(held)-1] {
				r.Release()
			}
			return nil
		}))
		require.Equal(t, []bool{false, true}, held)
		require.False(t, r.Hold("k"), "nobody takes it over")
	})
}

// A sweep forgets what has ended, and notes it: nothing is put in its place
// between the two.
func TestASweepAndATakeOverDoNotMeet(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.redis.Set("k", "old", 0)
		r.BeginSweep()
		var done sync.WaitGroup
		var held atomic.Bool
		began := make(chan struct{})
		done.Go(func() {
			_ = r.TakeOver(r.t.Context(), []string{"k"}, func(string, string, int64) error {
				close(began)
				if r.Hold("k") {
					held.Store(true)
					r.Release()
				}
				return nil
			})
		})
		<-began
		r.EndSweep([]string{"k"})
		done.Wait()
		require.False(t, held.Load())
	})
}

// Of a cluster any node will do: it names the others, be it asked for a key or
// told of an end.
func TestACluster(t *testing.T) {
	for name, first := range map[string]func(r *rig){
		"a question": func(r *rig) { require.Len(r.t, r.take("k"), 1); require.Zero(r.t, r.counted("failed")) },
		"an end":     func(r *rig) { r.Ended("k") },
	} {
		inBubble(t, func(r *rig) {
			r.redis.Set("k", "v", 0)
			r.redis.Set("gone", "v", 0)
			var known atomic.Bool
			r.redis.Answer(func(args []string) string {
				switch {
				case args[0] == "cluster":
					known.Store(true)
					return "*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$5\r\nother\r\n:6379\r\n"
				case !known.Load() && len(args) > 1:
					return "-MOVED 1 other:6379\r\n"
				}
				return ""
			})
			defer r.runs()()
			first(r)
			r.Ended("gone")
			time.Sleep(retryMax)
			require.False(r.t, r.redis.Has("gone"), name)
			require.Equal(r.t, name == "a question", r.redis.Has("k"), name)
		})
	}
}

// With rediss:// the certificate has to be one that is trusted.
func TestTLS(t *testing.T) {
	site := httptest.NewUnstartedServer(http.NotFoundHandler())
	site.StartTLS()
	defer site.Close()
	trusted := x509.NewCertPool()
	trusted.AddCert(site.Certificate())
	old := upstreamtest.New(t)
	old.Set("k", "v", 0)
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: site.TLS.Certificates})
	require.NoError(t, err)
	old.ServeOn(t, l)
	for _, c := range []struct {
		config *tls.Config
		taken  int
	}{{&tls.Config{RootCAs: trusted}, 1}, {nil, 0}} {
		var d net.Dialer
		u, err := New(Config{
			URL: "rediss://" + l.Addr().String(), TLS: c.config, Clock: clock.New(time.Now), Log: slog.New(slog.DiscardHandler), Counters: new(metric.Set),
			Dial: func(ctx context.Context, address string) (net.Conn, error) { return d.DialContext(ctx, "tcp", address) },
		})
		require.NoError(t, err)
		taken := 0
		for range 10 { // a question has little time on a busy machine
			require.NoError(t, u.TakeOver(t.Context(), []string{"k"}, func(string, string, int64) error { taken++; return nil }))
			if taken > 0 {
				break
			}
		}
		require.Equal(t, c.taken, taken)
		require.NoError(t, u.Close())
	}
}

// No error has a password in it.
func TestURLs(t *testing.T) {
	for text, accepted := range map[string]bool{
		"redis://h": true, "rediss://u:secret@h:1/2": true,
		"h:6379": false, "redis://u:secret@h/x": false, "redis://u:secret@h:port": false, "http://u:secret@h": false, "": false,
	} {
		err := CheckURL(text)
		require.Equal(t, accepted, err == nil, text)
		if !accepted {
			_, made := New(Config{URL: text})
			require.Equal(t, err, made)
			require.False(t, strings.Contains(err.Error(), "secret"), err)
		}
	}
}
