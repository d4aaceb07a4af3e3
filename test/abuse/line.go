package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/seed-95a32959/holdfast/internal/resp"
)

// patience is after how long an ordinary user gives up.
const patience = time.Second

// line is one connection to a member, from an address of the caller's choice.
type line struct {
	net.Conn
	in      *bufio.Reader
	replies *resp.ReplyReader
	address string
}

// dial connects from an address of this machine, any when it is empty.
func dial(from, to string) (*line, error) {
	d := net.Dialer{Timeout: patience}
	if from != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
	}
	c, err := d.Dial("tcp", to)
	if err != nil {
		return nil, err
	}
	in := bufio.NewReader(c)
	return &line{Conn: c, in: in, replies: resp.NewReplyReader(in, resp.ReplyLimits{}), address: to}, nil
}

// request is one HTTP request. Host is the address that was dialled where the
// headers name no other.
type request struct {
	method, path string
	headers      []string // "Name: value"
	body         string
}

// encode returns the request as it goes over the wire.
func (r request) encode(host string) []byte {
	b := fmt.Appendf(nil, "%s %s HTTP/1.1\r\n", r.method, r.path)
	hosted := false
	for _, h := range r.headers {
		b = append(append(b, h...), "\r\n"...)
		hosted = hosted || len(h) > 5 && h[:5] == "Host:"
	}
	if !hosted {
		b = fmt.Appendf(b, "Host: %s\r\n", host)
	}
	if r.body != "" || r.method != http.MethodGet {
		b = fmt.Appendf(b, "Content-Length: %d\r\n", len(r.body))
	}
	return append(append(b, "\r\n"...), r.body...)
}

// answer is what came back over HTTP.
type answer struct {
	status int
	header http.Header
	body   string
	last   bool // the connection is closed after it
}

// ask sends a request and reads its answer. After an error the connection is
// of no more use.
func (l *line) ask(r request, timeout time.Duration) (answer, error) {
	if err := l.SetDeadline(time.Now().Add(timeout)); err != nil {
		return answer{}, err
	}
	if _, err := l.Write(r.encode(l.address)); err != nil {
		return answer{}, err
	}
	return l.answer()
}

// answer reads one answer.
func (l *line) answer() (answer, error) {
	got, err := http.ReadResponse(l.in, nil)
	if err != nil {
		return answer{}, err
	}
	defer got.Body.Close()
	body, err := io.ReadAll(got.Body)
	return answer{got.StatusCode, got.Header, string(body), got.Close}, err
}

// command sends a command and reads its reply. An error reply is no error.
func (l *line) command(timeout time.Duration, args ...string) (resp.Value, error) {
	if err := l.SetDeadline(time.Now().Add(timeout)); err != nil {
		return resp.Value{}, err
	}
	if _, err := l.Write(resp.AppendCommand(nil, args...)); err != nil {
		return resp.Value{}, err
	}
	return l.replies.Read()
}

// refused is why a command was not done: no reply, or an error for one.
func refused(v resp.Value, err error) error {
	if err == nil && v.IsError() {
		err = errors.New(v.Text)
	}
	return err
}

// said is a reply as text, to be counted: of an error its first word.
func said(v resp.Value) string {
	switch {
	case v.IsError():
		for i, c := range v.Text {
			if c == ' ' {
				return "-" + v.Text[:i]
			}
		}
		return "-" + v.Text
	case v.Kind == resp.Simple:
		return "+" + v.Text
	case v.Kind == resp.Int:
		return ":" + strconv.FormatInt(v.Int, 10)
	default:
		return "a reply"
	}
}
