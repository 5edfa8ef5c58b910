/* What facts about ranks mean: lists of processors, and every warning with and without its cause. */
#include <stdio.h>
#include <string.h>

#include "support/values.h"
#include "train/survey.h"
