/* The entry points of TensorRT's libraries that its Python bindings link to; each gives nothing.
   With these three libraries (libnvinfer, libnvinfer_plugin, libnvonnxparser) the bindings load, and their names can be read. */
#define NOTHING(name) void *name(void) { return 0; }
#define NUMBER(name, value) int name(void) { return value; }

NOTHING(createInferBuilder_INTERNAL)
NOTHING(createInferRefitter_INTERNAL)
NOTHING(createInferRuntime_INTERNAL)
NOTHING(createNvOnnxParser_INTERNAL)
NOTHING(createNvOnnxParserRefitter_INTERNAL)
NOTHING(getBuilderPluginRegistry)
NOTHING(getBuilderSafePluginRegistry)
NOTHING(getLogger)
NOTHING(getPluginRegistry)
NUMBER(getInferLibBuildVersion, 0)
NUMBER(getInferLibMajorVersion, 0)
NUMBER(getInferLibMinorVersion, 0)
NUMBER(getInferLibPatchVersion, 0)
NUMBER(getInferLibVersion, 0)
NUMBER(getNvOnnxParserVersion, 0)
NUMBER(initLibNvInferPlugins, 1)
