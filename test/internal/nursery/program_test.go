package nursery

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestProgramTellsHowItWent(t *testing.T) {
	type config struct{ Holdfast }
	for _, c := range []struct {
		args   string
		passed bool
		err    error
		code   int
		says   string
	}{
		{"", true, nil, Passed, ""},
		{"", false, nil, Failed, ""},
		{"", true, errors.New("the machine is gone"), Failed, "trial: the machine is gone\n"},
		{"-h", false, nil, Passed, "a usage\n1 case\n\nFlags:\n"},
		{"-colour", false, nil, Usage, "-colour"},
		{"fast", false, nil, Usage, `trial: "fast": no arguments are taken; use flags`},
	} {
		p := Program[config]{
			Name: "trial",
			Parse: func(args []string, stderr io.Writer) (c config, err error) {
				f := Flags("trial", "a usage\n", func() { io.WriteString(stderr, "1 case\n") }, stderr)
				c.Flags(f)
				return c, Parse(f, args, "use flags")
			},
			Test: func(context.Context, config, io.Writer, io.Writer) (bool, error) { return c.passed, c.err },
		}
		var errs strings.Builder
		require.Equal(t, c.code, p.Run(t.Context(), strings.Fields(c.args), io.Discard, &errs))
		require.Contains(t, errs.String(), c.says)
	}
}

func TestMemberIsToldOfTheOtherNodes(t *testing.T) {
	router, one, two := NewMember(0, "127.0.0.1", 100), NewMember(1, "127.0.0.1", 110), NewMember(2, "::1", 120)
	nodes := []Member{one, two}
	require.Equal(t, "holdfast router -name router -cluster c -http 127.0.0.1:100 -admin 127.0.0.1:101 -gossip 127.0.0.1:104"+
		" -join 127.0.0.1:114,[::1]:124 -secret-file s", strings.Join(router.Command("holdfast", "c", "s", nodes), " "))
	require.Equal(t, "holdfast node -name node-2 -cluster c -http [::1]:120 -admin [::1]:121 -gossip [::1]:124"+
		" -join 127.0.0.1:114 -secret-file s -resp [::1]:122 -peer [::1]:123", strings.Join(two.Command("holdfast", "c", "s", nodes), " "))
}

func TestSleepEndsWithItsContext(t *testing.T) {
	require.True(t, Sleep(t.Context(), time.Microsecond))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.False(t, Sleep(ctx, time.Hour))
}
