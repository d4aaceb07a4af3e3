package admin

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/events"
	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/mesh"
)

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
		there := &Endpoint{cfg: Config{Events: bob}}
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
	_, err := new(Endpoint).ServeEvents(make([]byte, 7))
	require.EqualError(t, err, "question for events of 7 bytes: 8 are accepted")
}
