package glob

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		pattern, s string
		want       bool
	}{
		{"*", "", true}, {"*", "any", true}, {"", "", true}, {"", "a", false}, {"a", "", false},
		{"sess:*", "sess:1", true}, {"sess:*", "ses:1", false}, {"*:1", "sess:1", true}, {"*:1", "sess:12", false},
		{"a*b*c", "a1b2c", true}, {"a*b*c", "a1c2b", false}, {"a*b*c", "abbbcbc", true}, {"**", "x", true},
		{"h?llo", "hello", true}, {"h?llo", "hllo", false},
		{"h[ae]llo", "hallo", true}, {"h[ae]llo", "hillo", false}, {"h[^e]llo", "hallo", true}, {"h[^e]llo", "hello", false},
		{"h[a-c]llo", "hbllo", true}, {"h[c-a]llo", "hbllo", true}, {"h[a-c]llo", "hdllo", false},
		{`h\?llo`, "h?llo", true}, {`h\?llo`, "hello", false}, {`[\]]`, "]", true}, {`\`, `\`, true},
		{"[a", "a", true}, {"[", "a", false}, {"[a-", "-", true}, {"[]", "a", false}, {"[^]", "a", true},
		{"a[b]", "a", false},
	} {
		require.Equal(t, c.want, Match(c.pattern, c.s), "%q with %q", c.pattern, c.s)
	}
}

// A pattern of many stars must not take exponential time.
func TestMatchIsNotSlowOnManyStars(t *testing.T) {
	require.False(t, Match(strings.Repeat("a*", 500)+"b", strings.Repeat("a", 10000)))
	require.True(t, Match(strings.Repeat("a*", 500)+"b", strings.Repeat("a", 10000)+"b"))
}

func TestLongPatternsAreRefused(t *testing.T) {
	_, err := Compile(strings.Repeat("a", MaxPattern+1))
	require.EqualError(t, err, "pattern of 1025 bytes is too long, 1024 are taken")
	require.ErrorAs(t, err, new(LengthError))
	long := strings.Repeat("a", MaxPattern)
	p, err := Compile(long)
	require.NoError(t, err)
	require.True(t, p.Match(long))
	require.False(t, p.Match(long[1:]))
	require.False(t, p.Match(long+"a"))
}

// The machine answers as the plain reading of a pattern does, also where it
// needs several words.
func TestMatchIsAsTheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringOfN(rapid.SampledFrom([]rune(`ab*?[]^-\`)), 0, 9, -1).Draw(t, "pattern")
		s := rapid.StringOfN(rapid.SampledFrom([]rune(`ab]^-\`)), 0, 7, -1).Draw(t, "s")
		if got, want := Match(text, s), model(text, s); got != want {
			t.Fatalf("%q with %q: %v, want %v", text, s, got, want)
		}
		padding := strings.Repeat("x", rapid.SampledFrom([]int{54, 60, 63, 64, 65, 130}).Draw(t, "padding"))
		if got, want := Match(padding+text, padding+s), model(text, s); got != want {
			t.Fatalf("%q with %q behind %d bytes: %v, want %v", text, s, len(padding), got, want)
		}
	})
}

// model tries everything.
func model(pattern, s string) bool {
	switch {
	case pattern == "":
		return s == ""
	case pattern[0] == '*':
		for i := range len(s) + 1 {
			if model(pattern[1:], s[i:]) {
				return true
			}
		}
		return false
	case s == "":
		return false
	}
	n, ok := modelOne(pattern, s[0])
	return ok && model(pattern[n:], s[1:])
}

// modelOne matches a byte with what the pattern begins with, and returns the
// length of that.
func modelOne(pattern string, c byte) (n int, ok bool) {
	switch {
	case pattern[0] == '?':
		return 1, true
	case pattern[0] == '\\' && len(pattern) > 1:
		return 2, pattern[1] == c
	case pattern[0] != '[':
		return 1, pattern[0] == c
	}
	rest, not := strings.CutPrefix(pattern[1:], "^")
	for rest != "" && rest[0] != ']' {
		switch {
		case rest[0] == '\\' && len(rest) > 1:
			ok, rest = ok || rest[1] == c, rest[2:]
		case len(rest) > 2 && rest[1] == '-':
			ok = ok || min(rest[0], rest[2]) <= c && c <= max(rest[0], rest[2])
			rest = rest[3:]
		default:
			ok, rest = ok || rest[0] == c, rest[1:]
		}
	}
	return len(pattern) - len(strings.TrimPrefix(rest, "]")), ok != not
}

// The cost of a name is flat in the pattern's length up to 63 bytes, and then
// one step more for each 64.
func BenchmarkMatch(b *testing.B) {
	key := strings.Repeat("a", 512)
	for _, n := range []int{10, 100, 1000} {
		for name, text := range map[string]string{
			"stars": strings.Repeat("*a", n/2-1) + "b", "substring": "*" + strings.Repeat("a", n-2) + "b",
			"class": "*[" + strings.Repeat("a", n-4) + "]b", "prefix": strings.Repeat("a", n-1) + "*",
		} {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				p, err := Compile(text)
				require.NoError(b, err)
				for b.Loop() {
					p.Match(key)
				}
			})
		}
	}
}

func FuzzMatch(f *testing.F) {
	f.Add("a*[b-c]?", "axcz")
	f.Fuzz(func(t *testing.T, pattern, s string) {
		Match(pattern, s) // must end and not fail
		if len(s) > MaxPattern/2 {
			t.Skip()
		}
		if escaped := strings.NewReplacer(`*`, `\*`, `?`, `\?`, `[`, `\[`, `\`, `\\`).Replace(s); !Match(escaped, s) {
			t.Fatalf("%q does not match %q", escaped, s)
		}
		if !Match("*"+"*", s) {
			t.Fatal("two stars do not match all")
		}
	})
}
