// A packed classifier from Go: the label and the probability of every text that is given, or of every line of standard
// input.
//
//	go run . news.prnn "Oil prices rise again"
package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"pocketrnn.example/engine"
)

func fail(what string, err error) {
	fmt.Fprintf(os.Stderr, "Error: %s: %v\n", what, err)
	os.Exit(1)
}

func printAnswer(c *pocketrnn.Classifier, out io.Writer, text string) error {
	label, probability, err := c.Classify(text)
	if err == nil {
		_, err = fmt.Fprintf(out, "%s\t%.4f\n", label, probability)
	}
	return err
}

func printLines(c *pocketrnn.Classifier, out *bufio.Writer) error {
	in := bufio.NewReader(os.Stdin)
	for {
		line, err := in.ReadString('\n')
		if err != nil && err != io.EOF {
			return err
		}
		if line != "" {
			if err := printAnswer(c, out, strings.TrimRight(line, "\r\n")); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
	}
}

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "Usage: classify FILE.prnn [TEXT ...]")
		os.Exit(2)
	}
	classifier, err := pocketrnn.Open(os.Args[1])
	var cannot *fs.PathError
	if errors.As(err, &cannot) {
		err = cannot.Err // without the path, which is said already
	}
	if err != nil {
		fail(os.Args[1], err)
	}
	defer classifier.Close()
	out := bufio.NewWriter(os.Stdout)
	if len(os.Args) == 2 {
		err = printLines(classifier, out)
	}
	for _, text := range os.Args[2:] {
		if err == nil {
			err = printAnswer(classifier, out, text)
		}
	}
	if flushed := out.Flush(); err == nil {
		err = flushed
	}
	if err != nil {
		fail("a text", err)
	}
}
