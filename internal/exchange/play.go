package exchange

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/seed-95a32959/holdfast/internal/resp"
)

// patience bounds the wait for one answer.
const patience = 5 * time.Second

// Closed is the answer of a server that closes the connection instead.
const Closed = "(closed)"

// Play runs the script and returns the answers, one for each step that has one,
// in their order. A server that cannot be reached, or is silent, is an error.
func (s *Script) Play(dial func() (net.Conn, error)) ([]string, error) {
	p := &player{dial: dial, conns: make(map[string]*connection)}
	defer p.close()
	var answers []string
	for _, step := range s.Steps {
		answer, err := p.step(step)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %s %s: %w", s.Name, step.Line, step.Verb, step.Text, err)
		}
		if step.Answered() {
			answers = append(answers, answer)
		}
	}
	return answers, nil
}

type player struct {
	dial  func() (net.Conn, error)
	conns map[string]*connection
	name  string
}

type connection struct {
	net.Conn
	replies *resp.ReplyReader
}

func (p *player) close() {
	for _, c := range p.conns {
		c.Close()
	}
}

func (p *player) conn() (*connection, error) {
	if c := p.conns[p.name]; c != nil {
		return c, nil
	}
	nc, err := p.dial()
	if err != nil {
		return nil, err
	}
	c := &connection{nc, resp.NewReplyReader(nc, resp.ReplyLimits{})}
	p.conns[p.name] = c
	return c, nil
}

func (p *player) step(s *Step) (string, error) {
	switch s.Verb {
	case "@conn":
		p.name = s.Text
		return "", nil
	case "@sleep":
		d, err := time.ParseDuration(s.Text)
		time.Sleep(d)
		return "", err
	case "#":
		return "", nil
	}
	c, err := p.conn()
	if err != nil {
		return "", err
	}
	v, err := c.exchange(s)
	for _, end := range []error{io.EOF, io.ErrClosedPipe, syscall.EPIPE, syscall.ECONNRESET} {
		if errors.Is(err, end) {
			return Closed, nil
		}
	}
	return string(v.Append(nil)), err
}

func (c *connection) exchange(s *Step) (resp.Value, error) {
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return resp.Value{}, err
	}
	if err := c.send(s); err != nil {
		return resp.Value{}, err
	}
	return c.replies.Read()
}

func (c *connection) send(s *Step) error {
	b, err := s.bytes()
	if err != nil || len(b) == 0 {
		return err
	}
	_, err = c.Write(b)
	return err
}

// Same reports whether two answers are the same as far as the step is
// concerned.
func (s *Step) Same(a, b string) bool {
	switch s.Order {
	case Kind:
		return kindOf(a) == kindOf(b)
	case Free:
		return ordered(a) == ordered(b)
	default:
		return a == b
	}
}

func kindOf(answer string) string {
	if answer == Closed || answer == "" {
		return answer
	}
	return answer[:1]
}

// ordered is an answer with its elements in order, pairs kept together in a
// map.
func ordered(answer string) string {
	v, err := resp.NewReplyReader(bytes.NewReader([]byte(answer)), resp.ReplyLimits{}).Read()
	if err != nil {
		return answer
	}
	size := 1
	if v.Kind == resp.Map {
		size = 2
	}
	var elems []string
	for pair := range slices.Chunk(v.Elems, size) {
		var b []byte
		for _, e := range pair {
			b = e.Append(b)
		}
		elems = append(elems, string(b))
	}
	slices.Sort(elems)
	return string(rune(v.Kind)) + strings.Join(elems, "")
}

// Record makes answers of Redis those in the script, where they differ in what
// counts: of an answer whose type alone counts that is its first byte. What
// Holdfast answers otherwise stays.
func (s *Script) Record(answers []string) {
	for _, step := range s.Steps {
		if !step.Answered() {
			continue
		}
		if !step.Same(answers[0], step.Redis) {
			step.Redis = answers[0]
		}
		if step.Order == Kind {
			step.Redis = kindOf(step.Redis)
		}
		answers = answers[1:]
	}
}

// Difference is an answer that is not the one wanted.
type Difference struct {
	Step      *Step
	Got, Want string
}

// Compare holds answers to those in the script, and returns those that differ.
func (s *Script) Compare(answers []string, holdfast bool) (differences []Difference) {
	for _, step := range s.Steps {
		if !step.Answered() {
			continue
		}
		if want := step.Want(holdfast); !step.Same(answers[0], want) {
			differences = append(differences, Difference{step, answers[0], want})
		}
		answers = answers[1:]
	}
	return differences
}

// String shows both answers, one line each.
func (d Difference) String() string {
	return fmt.Sprintf("line %d: %s %s\n\twant %s\n\tgot  %s", d.Step.Line, d.Step.Verb, d.Step.Text, escape(d.Want), escape(d.Got))
}

// Counts are the answers of a script: how many, and how many of them differ
// from Redis's for a reason that is given.
func (s *Script) Counts() (answers, explained int) {
	for _, step := range s.Steps {
		if step.Answered() {
			answers++
		}
		if step.Why != "" {
			explained++
		}
	}
	return answers, explained
}
