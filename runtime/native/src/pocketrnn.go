// Package pocketrnn answers packed text classifiers by the engine in C beside it, which cgo compiles.
//
//	classifier, err := pocketrnn.Open("news.prnn") // made by: pocketrnn pack ag_news -o news.prnn
//	label, probability, err := classifier.Classify("Oil prices rise again")
package pocketrnn

/*
#cgo CFLAGS: -std=gnu11 -O3 -Wno-psabi
#cgo LDFLAGS: -lm
#include <stdlib.h>
#include "pocketrnn.h"
*/
import "C"

import (
	"errors"
	"os"
	"unsafe"
)

// Products of frequent words are kept in this: a fifth less time for a text.
const extra = 1 << 18

// Classifier is an open packed file with working memory, which grows with the longest text. One goroutine uses it at a time. It
// keeps its data in C's memory, since the engine keeps pointers into it.
type Classifier struct {
	opened       *C.prnn
	file, memory unsafe.Pointer
	work         unsafe.Pointer
	workSize     C.size_t
	logits       []C.prnn_number
	Labels       []string
}

func errorOf(status C.int) error {
	return errors.New(C.GoString(C.prnn_error(status)))
}

// Open reads and checks a packed file.
func Open(path string) (*Classifier, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	c := &Classifier{file: C.CBytes(content)}
	bytes, size := C.size_t(len(content)), C.size_t(0)
	// Without memory it checks the file, and says what it needs.
	status := C.prnn_open(&c.opened, c.file, bytes, nil, &size)
	if status == C.PRNN_MEMORY {
		size += extra
		c.memory = C.malloc(size)
		status = C.prnn_open(&c.opened, c.file, bytes, c.memory, &size)
	}
	if status != C.PRNN_OK {
		c.Close()
		return nil, errorOf(status)
	}
	var second C.struct_prnn_head
	if C.prnn_head(c.opened, 1, &second) != 0 {
		c.Close()
		return nil, errors.New("the classifier has several heads, but this package answers with one")
	}
	c.logits = make([]C.prnn_number, C.prnn_classes(c.opened))
	for i := range c.logits {
		var length C.size_t
		label := C.prnn_label(c.opened, C.uint32_t(i), &length)
		c.Labels = append(c.Labels, C.GoStringN(label, C.int(length)))
	}
	return c, nil
}

// Close frees what Open made. The classifier cannot be used after it.
func (c *Classifier) Close() {
	C.free(c.work)
	C.free(c.memory)
	C.free(c.file)
	*c = Classifier{}
}

// Classify gives a text's label and its probability. The text is UTF-8.
func (c *Classifier) Classify(text string) (string, float32, error) {
	utf8 := (*C.char)(unsafe.Pointer(unsafe.StringData(text)))
	for {
		size := c.workSize
		status := C.prnn_classify(c.opened, utf8, C.size_t(len(text)), &c.logits[0], c.work, &size)
		if status == C.PRNN_MEMORY {
			C.free(c.work)
			c.work, c.workSize = C.malloc(size), size
			continue
		}
		if status == C.PRNN_OK {
			status = C.prnn_probabilities(c.opened, &c.logits[0], &c.logits[0])
		}
		if status != C.PRNN_OK {
			return "", 0, errorOf(status)
		}
		break
	}
	best := 0
	for i, probability := range c.logits {
		if probability > c.logits[best] {
			best = i
		}
	}
	return c.Labels[best], float32(c.logits[best]), nil
}
