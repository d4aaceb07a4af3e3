package api

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// benchBody is a session of about 300 bytes, as a shop would keep it.
const benchBody = `{"user":"alice","csrf":"bMlQIwQoRkXVfS5vXzSwQmN2","cart":[{"sku":"B-1001","n":2,"price":19.90},{"sku":"B-2002","n":1,"price":5.00}],` +
	`"lang":"en-GB","seen":1767323045,"flash":null,"prefs":{"dark":true,"currency":"EUR","newsletter":false},"last":"/shop/books/holdfast-and-other-knots?page=2"}`

// sink takes an answer and keeps nothing, so that a benchmark counts the
// door's own allocations.
type sink struct{ header http.Header }

func (s *sink) Header() http.Header               { return s.header }
func (s *sink) Write(b []byte) (int, error)       { return len(b), nil }
func (s *sink) WriteString(b string) (int, error) { return len(b), nil }
func (s *sink) WriteHeader(int)                   {}

func benchExchange(b *testing.B, method, body string) {
	door, _ := newDoor(b)
	sendJSON(door, "PUT", "/v1/sessions/alice", benchBody)
	r := httptest.NewRequest(method, "/v1/sessions/alice", nil)
	r.Header.Set("Content-Type", "application/json")
	rd := strings.NewReader(body)
	r.Body, r.ContentLength = http.NoBody, int64(len(body))
	if body != "" {
		r.Body = struct {
			*strings.Reader
			noClose
		}{rd, noClose{}}
	}
	w := &sink{http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		rd.Reset(body)
		clear(w.header)
		door.ServeHTTP(w, r)
	}
}

type noClose struct{}

func (noClose) Close() error { return nil }

func BenchmarkGet(b *testing.B)   { benchExchange(b, "GET", "") }
func BenchmarkPut(b *testing.B)   { benchExchange(b, "PUT", benchBody) }
func BenchmarkPatch(b *testing.B) { benchExchange(b, "PATCH", `{"seen":1767323046}`) }
