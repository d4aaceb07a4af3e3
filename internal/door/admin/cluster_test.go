package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/adminapi"
	"github.com/seed-95a32959/holdfast/internal/events"
	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/mesh"
)

// A member that does not answer is shown, with why, and nobody waits longer for
// it than the question may take.
func TestWhoDoesNotAnswerIsShown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		f.ask = func(ctx context.Context, asked member.ID, _ byte, _ []byte) ([]byte, error) {
			if asked == id("bob") {
				<-ctx.Done()
				return nil, fmt.Errorf("call: %w", ctx.Err())
			}
			return nil, errNoLink
		}
		e, begun := New(f.config()), time.Now()
		var a adminapi.Cluster
		require.NoError(t, json.Unmarshal(ask(e, "GET", "/admin/cluster").Body.Bytes(), &a))
		require.Equal(t, clusterTimeout, time.Since(begun))
		said := make(map[string]string)
		for _, m := range a.Members {
			said[m.Name] = m.Error
			require.Equal(t, m.Name == "ada", m.Stats != nil, "%s: only its own figures are known", m.Name)
		}
		require.Equal(t, map[string]string{"ada": "", "bob": "no answer within 500ms", "cyd": "no link", "gate": ""}, said)

		begun = time.Now()
		var k adminapi.Key
		require.NoError(t, json.Unmarshal(ask(e, "GET", "/admin/ring?key=alice").Body.Bytes(), &k))
		require.Equal(t, holdsTimeout, time.Since(begun))
		require.Equal(t, []adminapi.Holding{{Name: "ada", State: "none"}, {Name: "bob", State: "silent"}, {Name: "cyd", State: "silent"}}, k.Holders)
	})
}

func TestReady(t *testing.T) {
	t.Parallel()
	for want, change := range map[string]func(f *fake, c *Config){
		"":                                func(*fake, *Config) {},
		"leaving":                         func(f *fake, _ *Config) { f.state = member.StateLeaving },
		"no node is ready":                func(f *fake, _ *Config) { f.see(t, router("gate")) },
		"the application does not answer": func(f *fake, _ *Config) { f.appDown = true },
		"12 partitions are cold":          func(f *fake, _ *Config) { f.cold = 12 },
		"3 keys have too few copies":      func(f *fake, _ *Config) { f.below = 3 },
	} {
		f := newFake(t)
		c := f.config()
		change(f, &c)
		w := ask(New(c), "GET", "/readyz")
		if want == "" {
			require.Equal(t, http.StatusOK, w.Code)
			require.Equal(t, "{\n  \"status\": \"ready\"\n}\n", w.Body.String())
			continue
		}
		require.Equal(t, http.StatusServiceUnavailable, w.Code)
		require.Equal(t, fmt.Sprintf("{\n  \"status\": \"not ready\",\n  \"why\": [\n    %q\n  ]\n}\n", want), w.Body.String())
	}
	f := newFake(t)
	f.cold, f.below = 1, 1
	require.Equal(t, http.StatusOK, ask(New(f.router()), "GET", "/readyz").Code, "a router holds nothing")
}

func TestDrain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		f.drainLines = [][2]int{{4, 30}, {4, 30}, {1, 2}, {0, 0}}
		w := ask(New(f.config()), "POST", "/admin/drain")
		require.Equal(t, http.StatusAccepted, w.Code)
		require.Equal(t, "application/jsonl", w.Header().Get("Content-Type"))
		require.Equal(t, `{"partitions":4,"unsynced":30}`+"\n"+`{"partitions":1,"unsynced":2}`+"\n"+`{"partitions":0,"unsynced":0}`+"\n"+`{"done":true,"unsynced":0}`+"\n", w.Body.String())
		require.True(t, f.stopped)

		f = newFake(t)
		f.drainErr = errors.New("nobody; the node stays")
		w = ask(New(f.config()), "POST", "/admin/drain")
		require.Equal(t, `{"error":"nobody; the node stays","unsynced":8}`+"\n", w.Body.String())
		require.False(t, f.stopped, "it is not at an end")
	})
}

func TestDrainIsRefused(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	w := ask(New(f.router()), "POST", "/admin/drain?force=1")
	require.Equal(t, http.StatusConflict, w.Code)
	require.Contains(t, w.Body.String(), "problems/nothing-to-drain")
	f.see(t, up("ada"), up("bob"))
	e := New(f.config())
	w = ask(e, "POST", "/admin/drain")
	require.Equal(t, http.StatusConflict, w.Code)
	require.Contains(t, w.Body.String(), "1 nodes would remain for 2 copies of each session")
	require.Zero(t, f.drained)
	require.Equal(t, http.StatusAccepted, ask(e, "POST", "/admin/drain?force=1").Code)
	f.state = member.StateLeaving
	require.Equal(t, http.StatusAccepted, ask(e, "POST", "/admin/drain").Code, "joins the drain under way")
}

// stream has an endpoint answer a question for events until the client leaves.
func stream(t *testing.T, e *Endpoint, path string, long time.Duration, headers ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), long)
	defer cancel()
	r, w := httptest.NewRequestWithContext(ctx, "GET", path, nil), httptest.NewRecorder()
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	e.events(w, r)
	require.Equal(t, "text/event-stream", w.Header().Get("Content-Type"))
	return w.Body.String()
}

// runLog runs an event log until its test ends.
func runLog(t *testing.T, log *events.Log) {
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	go log.Run(ctx)
	synctest.Wait()
}

func TestEventsStream(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		runLog(t, f.events)
		f.events.Add("first", "x", 1)
		f.events.Add("second")
		synctest.Wait()
		time.AfterFunc(time.Second, func() { f.events.Add("third") })
		const second = "id: 2\nevent: second\ndata: {\"id\":2,\"time\":\"1970-01-01T00:00:01Z\",\"kind\":\"second\",\"data\":{},\"at\":\"ada\",\"boot\":\"0000000003e8ada\"}\n\n"
		const third = "id: 3\nevent: third\ndata: {\"id\":3,\"time\":\"1970-01-01T00:00:01Z\",\"kind\":\"third\",\"data\":{},\"at\":\"ada\",\"boot\":\"0000000003e8ada\"}\n\n"
		require.Equal(t, second+third+": alive\n\n", stream(t, New(f.config()), "/admin/events", 20*time.Second, "Last-Event-ID", "1"))
		require.Contains(t, stream(t, New(f.config()), "/admin/events", time.Second), "event: first\ndata: {\"id\":1,\"time\":\"1970-01-01T00:00:01Z\",\"kind\":\"first\",\"data\":{\"x\":1},")

		close(f.closing)
		begun := time.Now()
		stream(t, New(f.config()), "/admin/events", time.Hour)
		require.Zero(t, time.Since(begun), "the endpoint closes")
	})
}

// Each node is asked for what is new there. One that fails to answer is asked
// again for the same.
func TestEventsOfTheCluster(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		runLog(t, f.events)
		bob := events.New(func() time.Time { return at(2000) })
		bob.Add("theirs")
		there := New(Config{Events: bob})
		var asked []uint64
		f.ask = func(_ context.Context, asks member.ID, typ byte, question []byte) ([]byte, error) {
			require.Equal(t, id("bob"), asks)
			require.Equal(t, mesh.TypeEvents, typ)
			if asked = append(asked, order.Uint64(question)); len(asked) == 2 {
				bob.Add("more")
				return nil, errNoLink
			}
			return there.ServeEvents(question)
		}
		text := stream(t, New(f.config()), "/admin/events?scope=cluster", 4*gatherInterval-time.Millisecond)
		require.Equal(t, []uint64{0, 1, 1, 2}, asked)
		require.NotContains(t, text, "id: ", "no number orders the events of several logs")
		require.Equal(t, 1, strings.Count(text, "event: theirs\n"))
		require.Equal(t, 1, strings.Count(text, "event: more\n"))
		require.Contains(t, text, `"at":"bob","boot":"0000000003e8bob"`)
	})
	_, err := New(Config{}).ServeEvents(make([]byte, 7))
	require.EqualError(t, err, "question for events of 7 bytes: 8 are accepted")
}
