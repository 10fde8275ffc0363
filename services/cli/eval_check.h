// Is an answer right? The rules of models/minnow/train/tasks/checks.py, again: the visible text
// without white space around it, and at most one tool call. A differential test asks both.
#pragma once

#include "cli/eval_answer.h"
#include "cli/eval_question.h"

namespace fathom {

// An answer with several tool calls is never right. Texts are valid UTF-8.
bool is_right(const EvalCheck& check, const EvalAnswer& answer);

}  // namespace fathom
