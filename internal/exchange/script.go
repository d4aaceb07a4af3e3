// Package exchange plays scripts of commands to a server that speaks the Redis
// protocol, and holds its answers, byte for byte, to those in the script.
//
// A script is a text of steps (script.go):
//
//	# a remark
//	> SET k v EX 100          send a command, its words quoted as redis-cli takes them
//	< +OK\r\n                 what Redis answers, escaped as in a Go string
//	! +QUEUED\r\n             what Holdfast answers where it differs
//	? why it differs          must follow
//
//	>~ SMEMBERS s             the order of the elements is free
//	>? TIME                   only the type of the answer counts
//	@raw *1\r\n$4\r\nPING\r\n send bytes as they are
//	@read                     read one answer more, such as a message
//	@conn b                   go on with another connection, "" being the first
//	@sleep 30ms               let a key expire
//
// [Script.Play] plays it on fresh connections (play.go). The caller sees to it
// that the server is empty.
package exchange

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/seed-95a32959/holdfast/internal/resp"
)

// Script is the steps of one file.
type Script struct {
	Name  string
	Steps []*Step
}

// Order says what of an answer counts.
type Order byte

const (
	Exact Order = iota // every byte
	Free               // not the order of the elements
	Kind               // the type alone
)

// Step is one thing that is done, and its answer if it has one.
type Step struct {
	Line  int    // in the file, from 1
	Verb  string // ">", ">~", ">?", "@raw", "@read", "@conn", "@sleep", "#"
	Text  string // what stands behind it
	Order Order

	Redis    string // the answer; "" if none is known yet
	Holdfast string // the other answer, if it differs
	Why      string // it differs
}

// Answered reports whether a step waits for an answer.
func (s *Step) Answered() bool {
	return s.Verb[0] == '>' || s.Verb == "@raw" || s.Verb == "@read"
}

// Want is what a server should answer.
func (s *Step) Want(holdfast bool) string {
	if holdfast && s.Why != "" {
		return s.Holdfast
	}
	return s.Redis
}

var orders = map[string]Order{">": Exact, ">~": Free, ">?": Kind}

// Parse reads a script. An error names the line.
func Parse(name, text string) (*Script, error) {
	s := &Script{Name: name}
	for i, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		verb, rest, _ := strings.Cut(line, " ")
		if err := s.parse(i+1, verb, rest); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, i+1, err)
		}
	}
	for _, step := range s.Steps {
		if (step.Holdfast == "") != (step.Why == "") {
			return nil, fmt.Errorf("%s:%d: an answer with ! needs a reason with ?, and the other way round", name, step.Line)
		}
	}
	return s, nil
}

func (s *Script) parse(line int, verb, rest string) error {
	switch verb {
	case "":
		verb, rest = "#", ""
		s.Steps = append(s.Steps, &Step{Line: line, Verb: verb, Text: rest})
	case "#", ">", ">~", ">?", "@raw", "@read", "@conn", "@sleep":
		step := &Step{Line: line, Verb: verb, Text: rest, Order: orders[verb]}
		if err := step.check(); err != nil {
			return err
		}
		s.Steps = append(s.Steps, step)
	case "<", "!", "?":
		return s.answer(verb, rest)
	default:
		return fmt.Errorf("%q begins no step; accepted are # > >~ >? < ! ? @raw @read @conn @sleep", verb)
	}
	return nil
}

// check finds mistakes before anything is sent.
func (s *Step) check() error {
	switch s.Verb {
	case ">", ">~", ">?":
		_, err := words(s.Text)
		return err
	case "@raw":
		_, err := unescape(s.Text)
		return err
	case "@sleep":
		_, err := time.ParseDuration(s.Text)
		return err
	}
	return nil
}

// answer adds to the last step.
func (s *Script) answer(verb, rest string) error {
	if len(s.Steps) == 0 || !s.Steps[len(s.Steps)-1].Answered() {
		return fmt.Errorf("%q follows no command", verb)
	}
	step := s.Steps[len(s.Steps)-1]
	if verb == "?" {
		step.Why = rest
		return nil
	}
	text, err := unescape(rest)
	if err != nil {
		return err
	}
	if verb == "<" {
		step.Redis = text
	} else {
		step.Holdfast = text
	}
	return nil
}

// String is the script as a file has it.
func (s *Script) String() string {
	var w strings.Builder
	for _, step := range s.Steps {
		if step.Verb == "#" && step.Text == "" {
			w.WriteByte('\n')
			continue
		}
		w.WriteString(strings.TrimSuffix(step.Verb+" "+step.Text, " ") + "\n")
		if step.Redis != "" {
			w.WriteString("< " + escape(step.Redis) + "\n")
		}
		if step.Why != "" {
			w.WriteString("! " + escape(step.Holdfast) + "\n? " + step.Why + "\n")
		}
	}
	return w.String()
}

// words splits a line as an inline command.
func words(line string) ([]string, error) {
	r := resp.NewReader(strings.NewReader(line+"\n"), resp.Limits{MaxArgs: 1 << 20, MaxBulk: 1 << 20, MaxQuery: 1 << 26})
	var args [][]byte
	for args == nil {
		if err := r.Fill(); err != nil {
			return nil, fmt.Errorf("%q is no command", line)
		}
		var err error
		if args, err = r.Next(); err != nil {
			return nil, err
		}
	}
	list := make([]string, len(args))
	for i, arg := range args {
		list[i] = string(arg)
	}
	return list, nil
}

func escape(s string) string {
	q := strconv.Quote(s)
	return strings.ReplaceAll(q[1:len(q)-1], `\"`, `"`)
}

func unescape(s string) (string, error) {
	text, err := strconv.Unquote(`"` + strings.ReplaceAll(s, `"`, `\"`) + `"`)
	if err != nil {
		return "", fmt.Errorf("%q is not escaped as in a Go string", s)
	}
	return text, nil
}

// Sent is all that the script sends, on whatever connection.
func (s *Script) Sent() (all []byte) {
	for _, step := range s.Steps {
		if b, err := step.bytes(); err == nil {
			all = append(all, b...)
		}
	}
	return all
}

// bytes are what a step sends.
func (s *Step) bytes() ([]byte, error) {
	switch s.Verb {
	case "@raw":
		text, err := unescape(s.Text)
		return []byte(text), err
	case ">", ">~", ">?":
		args, err := words(s.Text)
		return resp.AppendCommand(nil, args...), err
	default:
		return nil, nil
	}
}
