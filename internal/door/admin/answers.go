package admin

import (
	"bufio"
	"net"
	"net/http"
	"time"
)

// Answered puts the time until an answer of the public endpoint began into the
// metrics.
func (e *Endpoint) Answered(status int, took time.Duration) {
	if class := status / 100; class < len(e.metrics.answers) {
		e.metrics.answers[class].Observe(took.Seconds())
	}
}

// Measured is next with the time of each answer taken, for the public endpoint.
func (e *Endpoint) Measured(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a := &answering{ResponseWriter: w, endpoint: e, begun: time.Now()}
		next.ServeHTTP(a, r)
		a.begin(http.StatusOK) // what the server answers for a handler that wrote nothing
	})
}

// answering sees when an answer begins.
type answering struct {
	http.ResponseWriter
	endpoint *Endpoint
	begun    time.Time
	counted  bool
}

func (a *answering) begin(status int) {
	if a.counted || status < 200 && status != http.StatusSwitchingProtocols {
		return // 100 and 103 come before the answer
	}
	a.counted = true
	a.endpoint.Answered(status, time.Since(a.begun))
}

func (a *answering) WriteHeader(status int) {
	a.begin(status)
	a.ResponseWriter.WriteHeader(status)
}

func (a *answering) Write(b []byte) (int, error) {
	a.begin(http.StatusOK)
	return a.ResponseWriter.Write(b)
}

// Flush and Hijack are for handlers that ask for them by their interfaces.
func (a *answering) Flush() {
	a.begin(http.StatusOK)
	_ = http.NewResponseController(a.ResponseWriter).Flush() // the interface knows no error
}

func (a *answering) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffer, err := http.NewResponseController(a.ResponseWriter).Hijack()
	if err == nil {
		a.begin(http.StatusSwitchingProtocols)
	}
	return conn, buffer, err
}

// Unwrap lets http.ResponseController find what is not here, such as deadlines.
func (a *answering) Unwrap() http.ResponseWriter { return a.ResponseWriter }
