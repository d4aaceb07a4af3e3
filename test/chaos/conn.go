package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// request is one HTTP request as it goes over a [conn].
type request struct {
	method, path string
	ack          string // Holdfast-Ack, empty for none
	body         string // JSON, empty for none
	create       bool   // If-None-Match: *
	user         string // X-User-ID, empty for none
}

// answer is what came back, or why nothing did.
type answer struct {
	status   int
	node     string // Holdfast-Node
	copies   string // Holdfast-Acked: how many copies have the write; empty for a read
	degraded bool   // Holdfast-Degraded
	routed   bool   // came through the router
	body     []byte
	took     time.Duration
	err      error // no answer: refused, broken, timed out
}

func (a answer) ok() bool { return a.err == nil && a.status/100 == 2 }

// absent says that the answer claims there is no such session.
func (a answer) absent() bool {
	return a.err == nil && (a.status == http.StatusNotFound || a.status == http.StatusGone)
}

func (a answer) String() string {
	if a.err != nil {
		return fmt.Sprintf("no answer after %v: %v", a.took.Round(time.Millisecond), a.err)
	}
	s := fmt.Sprintf("%d after %v from %s", a.status, a.took.Round(10*time.Microsecond), or(a.node, "?"))
	if a.copies != "" {
		s += " with " + a.copies + " copies"
	}
	if a.degraded {
		s += " (degraded)"
	}
	if !a.ok() && len(a.body) > 0 {
		s += fmt.Sprintf(": %.300s", strings.TrimSpace(string(a.body)))
	}
	return s
}

func or(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// dialTimeout is how long a connection may take; a port that nobody listens on
// refuses at once, and a frozen process's kernel takes connections for it.
const dialTimeout = 2 * time.Second

// conn is one keep-alive connection to a door. Requests can be pipelined on
// it: written together, answered in order. It is for one goroutine.
type conn struct {
	net.Conn
	address string
	in      *bufio.Reader
	out     []byte
	last    bool      // the door has said that it closes the connection
	idle    time.Time // since when it is
}

func dial(ctx context.Context, address string) (*conn, error) {
	d := net.Dialer{Timeout: dialTimeout}
	c, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c, address: address, in: bufio.NewReaderSize(c, 32<<10)}, nil
}

// errResend is why a pipelined request has no answer that came after one with
// "Connection: close": the door has not looked at it, and says so that way.
var errResend = errors.New("the endpoint closed the connection before this request's turn")

// exchange sends the requests and fills in their answers, in order. After an
// error the connection is closed, and every request without an answer has the
// error as its answer: whether it was done is not known.
func (c *conn) exchange(ctx context.Context, requests []request, answers []answer, timeout time.Duration) error {
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer func() { c.last = !stop() || c.last }() // closed, or about to be: of no more use
	begun := time.Now()
	c.out = c.out[:0]
	for _, r := range requests {
		c.out = c.append(c.out, r)
	}
	err := c.SetDeadline(begun.Add(timeout))
	if err == nil {
		_, err = c.Write(c.out)
	}
	for i := range requests {
		if err == nil && c.last {
			err = errResend
		}
		if err == nil {
			answers[i], err = c.read()
		}
		if err != nil {
			answers[i] = answer{err: err}
		}
		answers[i].took = time.Since(begun)
	}
	if err != nil {
		c.Close()
	}
	return err
}

func (c *conn) append(b []byte, r request) []byte {
	b = append(append(append(b, r.method...), ' '), r.path...)
	b = append(append(b, " HTTP/1.1\r\nHost: "...), c.address...)
	if r.ack != "" {
		b = append(append(b, "\r\nHoldfast-Ack: "...), r.ack...)
	}
	if r.create {
		b = append(b, "\r\nIf-None-Match: *"...)
	}
	if r.user != "" {
		b = append(append(b, "\r\nX-User-ID: "...), r.user...)
	}
	if r.body != "" {
		b = append(b, "\r\nContent-Type: application/json\r\nContent-Length: "...)
		b = strconv.AppendInt(b, int64(len(r.body)), 10)
	} else if r.method != http.MethodGet {
		b = append(b, "\r\nContent-Length: 0"...)
	}
	return append(append(b, "\r\n\r\n"...), r.body...)
}

// longestAnswer bounds the body of one answer; sessions here are small.
const longestAnswer = 1 << 20

func (c *conn) read() (answer, error) {
	resp, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return answer{}, err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, longestAnswer+1))
	resp.Body.Close()
	if err == nil && len(body) > longestAnswer {
		err = fmt.Errorf("answer of more than %d bytes", longestAnswer)
	}
	if err != nil {
		return answer{}, err
	}
	c.last = resp.Close
	return answer{
		status: resp.StatusCode, node: resp.Header.Get("Holdfast-Node"), copies: resp.Header.Get("Holdfast-Acked"),
		degraded: resp.Header.Get("Holdfast-Degraded") != "", body: body,
	}, nil
}
