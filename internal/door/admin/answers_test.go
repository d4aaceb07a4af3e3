package admin

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
)

// The first that a handler writes is what is measured, whatever way it goes.
func TestAnswersAreCountedByClass(t *testing.T) {
	t.Parallel()
	e := New(newFake(t).config())
	for _, h := range []http.HandlerFunc{
		func(http.ResponseWriter, *http.Request) {},
		func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, "x")
			w.WriteHeader(http.StatusInternalServerError)
		},
		func(w http.ResponseWriter, _ *http.Request) { w.(http.Flusher).Flush() },
		func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusEarlyHints)
			w.WriteHeader(http.StatusNotFound)
		},
		func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprint(w, "x")
		},
	} {
		e.Measured(h).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
	}
	w := ask(e, "GET", "/metrics")
	for class, count := range map[string]int{"1xx": 0, "2xx": 3, "3xx": 0, "4xx": 1, "5xx": 1} {
		require.Contains(t, w.Body.String(), fmt.Sprintf("holdfast_http_answer_seconds_count{code=%q} %d\n", class, count))
	}
}

// What every request at the public endpoint pays for the histogram.
func BenchmarkMeasured(b *testing.B) {
	h := New(newFake(b).config()).Measured(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }))
	w, r := httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil)
	b.ReportAllocs()
	for b.Loop() {
		h.ServeHTTP(w, r)
	}
}
