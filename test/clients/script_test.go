package clients

import (
	"embed"
	"fmt"
	"net"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/resp"
)

// The files of scripts hold what a library sends and what it expects, for
// libraries in languages that are not run here. By the beginning of a line:
//
//	A>  a command to the first node; B and C are the others, A2 is a further
//	    connection to A
//	A~  one that is sent again, as the library does, while the answer is that
//	    the owner died with it
//	A<  the answer, or a message: +status -error :number "string" nil
//	    [elements]; * is anything
//	let id B prefix:  makes $id so that the second node owns prefix:$id
//	kill key, restore  kill the owner of a key; start it again
//	did text  notes what has been shown
//	#  a remark
//
// $ms+1000 and $s+1 are moments from now on, in Unix milliseconds and seconds.
//
//go:embed scripts
var scripts embed.FS

func played(file string) func(*trial) {
	return func(t *trial) {
		text, err := scripts.ReadFile("scripts/" + file)
		require.NoError(t, err)
		p := &player{trial: t, file: file, variables: make(map[string]string), conns: make(map[string]*playerConn)}
		defer p.close()
		for i, line := range strings.Split(string(text), "\n") {
			p.line = i + 1
			p.play(strings.TrimSpace(line))
		}
		t.did(fmt.Sprintf("(%d commands)", p.commands))
	}
}

type player struct {
	*trial
	file      string
	line      int
	variables map[string]string
	conns     map[string]*playerConn
	commands  int
}

type playerConn struct {
	net.Conn
	in     *resp.ReplyReader
	answer string // that has been read already
}

func (p *player) close() {
	for _, c := range p.conns {
		c.Close()
	}
}

func (p *player) play(line string) {
	p.Helper()
	verb, rest, _ := strings.Cut(line, " ")
	rest = p.substitute(rest)
	switch {
	case verb == "" || verb == "#":
	case verb == "let":
		words := strings.Fields(rest)
		p.variables[words[0]] = strings.TrimPrefix(p.owned(words[2], place(words[1])), words[2])
	case verb == "kill":
		p.killOwner(rest)
	case verb == "restore":
		require.NoError(p, p.Restore(p.ctx))
	case verb == "did":
		p.did(rest)
	case strings.HasSuffix(verb, ">"):
		p.commands++
		_, err := p.conn(verb).Write(resp.AppendCommand(nil, words(p, rest)...))
		require.NoError(p, err)
	case strings.HasSuffix(verb, "~"):
		p.commands++
		c := p.conn(verb)
		for tries := 0; ; tries++ {
			_, err := c.Write(resp.AppendCommand(nil, words(p, rest)...))
			require.NoError(p, err)
			c.answer = p.read(c)
			if tries == 100 || !strings.HasPrefix(c.answer, "-ERR no answer from the owner") {
				return
			}
		}
	case strings.HasSuffix(verb, "<"):
		c := p.conn(verb)
		answer := c.answer
		if c.answer = ""; answer == "" {
			answer = p.read(c)
		}
		pattern := "^" + strings.ReplaceAll(regexp.QuoteMeta(rest), `\*`, ".*") + "$"
		require.Regexp(p, pattern, answer, "%s:%d", p.file, p.line)
	default:
		p.Fatalf("%s:%d: %q begins no step", p.file, p.line, verb)
	}
}

func (p *player) read(c *playerConn) string {
	p.Helper()
	require.NoError(p, c.SetReadDeadline(time.Now().Add(20*time.Second)))
	v, err := c.in.Read()
	require.NoError(p, err, "%s:%d", p.file, p.line)
	return show(v)
}

var variable = regexp.MustCompile(`\$(ms\+|s\+)?[a-z0-9]+`)

func (p *player) substitute(text string) string {
	return variable.ReplaceAllStringFunc(text, func(name string) string {
		name = name[1:]
		if unit, number, isMoment := strings.Cut(name, "+"); isMoment {
			n, err := strconv.ParseInt(number, 10, 64)
			require.NoError(p, err)
			if unit == "ms" {
				return fmt.Sprint(time.Now().UnixMilli() + n)
			}
			return fmt.Sprint(time.Now().Unix() + n)
		}
		value, known := p.variables[name]
		require.True(p, known, "%s:%d: there is no $%s", p.file, p.line, name)
		return value
	})
}

func place(letter string) int { return int(letter[0] - 'A') }

// conn returns the connection of a verb such as A2>.
func (p *player) conn(verb string) *playerConn {
	name := verb[:len(verb)-1]
	if c := p.conns[name]; c != nil {
		return c
	}
	require.Regexp(p, "^[ABC][0-9]?$", name, "%s:%d", p.file, p.line)
	c, err := net.Dial("tcp", p.Address(place(name)))
	require.NoError(p, err)
	p.conns[name] = &playerConn{Conn: c, in: resp.NewReplyReader(c, resp.ReplyLimits{})}
	return p.conns[name]
}

// words splits a command at spaces, outside of the quotes of Go strings.
func words(p *player, line string) (list []string) {
	for line = strings.TrimSpace(line); line != ""; line = strings.TrimSpace(line) {
		if quoted, err := strconv.QuotedPrefix(line); err == nil {
			word, err := strconv.Unquote(quoted)
			require.NoError(p, err)
			list, line = append(list, word), line[len(quoted):]
			continue
		}
		word, rest, _ := strings.Cut(line, " ")
		list, line = append(list, word), rest
	}
	return list
}

// show writes an answer as the files have it.
func show(v resp.Value) string {
	switch {
	case v.IsNull():
		return "nil"
	case v.Kind == resp.Int:
		return ":" + strconv.FormatInt(v.Int, 10)
	case v.Kind == resp.Bulk || v.Kind == resp.Verbatim:
		return strconv.Quote(v.Text)
	case v.Elems != nil || v.Kind == resp.Array || v.Kind == resp.Map || v.Kind == resp.Set || v.Kind == resp.Push:
		var elems []string
		for _, e := range v.Elems {
			elems = append(elems, show(e))
		}
		return "[" + strings.Join(elems, " ") + "]"
	default:
		return string(rune(v.Kind)) + v.Text
	}
}
