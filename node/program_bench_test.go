package node

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast"
	"github.com/seed-95a32959/holdfast/session"
)

// What a handler pays for its session on the node that owns it: a read of a
// field, the first of its request and a later one; and a whole request through
// the pinning, with nothing read, with a read and with a write.
func BenchmarkProgram(b *testing.B) {
	cfg := loopbackConfig("solo")
	cfg.Demo, cfg.Secret = false, []byte("the secret of all the nodes")
	n := begin(b, cfg)
	eventually(b, "ready", func() bool { owned, cold := n.owner.Gate().Counts(); return owned > 0 && cold == 0 })
	_, err := n.Sessions().Put(b.Context(), "alice", []session.Field{
		{Name: "cart", Value: `["book"]`}, {Name: "theme", Value: `"dark"`}, {Name: "user", Value: `"alice"`},
	}, 0)
	require.NoError(b, err)

	inside := func(name string, prepare, run func(s *holdfast.Session) error) {
		b.Run(name, func(b *testing.B) {
			h := n.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				s := holdfast.FromContext(r.Context())
				if err := prepare(s); err != nil {
					b.Fatal(err)
				}
				b.ReportAllocs()
				for b.Loop() {
					if err := run(s); err != nil {
						b.Fatal(err)
					}
				}
			}))
			h.ServeHTTP(httptest.NewRecorder(), aliceRequest())
		})
	}
	read := func(s *holdfast.Session) error {
		_, _, err := holdfast.Get[string](s, "user")
		return err
	}
	inside("read", read, read)
	inside("first read", read, func(s *holdfast.Session) error {
		if err := s.Reload(); err != nil {
			return err
		}
		return read(s)
	})

	inside("Sessions.Get", read, func(*holdfast.Session) error {
		_, err := n.Sessions().Get(b.Context(), "alice")
		return err
	})

	whole := func(name string, app http.HandlerFunc) {
		b.Run(name, func(b *testing.B) {
			h := n.Handler(app)
			r := aliceRequest()
			b.ReportAllocs()
			for b.Loop() {
				h.ServeHTTP(httptest.NewRecorder(), r)
			}
		})
	}
	whole("request", func(http.ResponseWriter, *http.Request) {})
	whole("request that reads", func(_ http.ResponseWriter, r *http.Request) {
		if err := read(holdfast.FromContext(r.Context())); err != nil {
			b.Error(err)
		}
	})
	count := 0
	whole("request that writes", func(_ http.ResponseWriter, r *http.Request) {
		count++
		if err := holdfast.FromContext(r.Context()).Set("count", count); err != nil {
			b.Error(err)
		}
	})
}

func aliceRequest() *http.Request {
	r := httptest.NewRequest("GET", "/", nil)
	r.RemoteAddr = "127.0.0.1:1234"
	r.Header.Set("X-User-ID", "alice")
	return r
}
