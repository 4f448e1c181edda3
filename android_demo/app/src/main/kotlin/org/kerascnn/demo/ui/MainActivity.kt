package org.kerascnn.demo.ui

import android.Manifest
import android.app.Activity
import android.app.AlertDialog
import android.content.ActivityNotFoundException
import android.content.Intent
import android.content.pm.PackageManager
import android.net.Uri
import android.os.Build
import android.os.Bundle
import android.provider.MediaStore
import android.provider.Settings
import android.view.View
import android.view.WindowManager
import android.widget.Button
import android.widget.SeekBar
import android.widget.TextView
import kotlin.concurrent.thread
import org.kerascnn.demo.R
import org.kerascnn.demo.core.Task

/** Live camera and still pictures, answered by a model that the user chooses. */
class MainActivity : Activity() {
    private enum class Source { NOTHING, CAMERA, STILL }

    private lateinit var preferences: Preferences
    private lateinit var catalogue: Catalogue
    private lateinit var picker: ModelPicker
    private lateinit var session: Session
    private lateinit var stage: StageView
    private lateinit var live: LiveView
    private lateinit var panel: AnswerPanel

    private var source = Source.NOTHING

    /** Counts changes of what is looked at, so that late answers are not shown. */
    @Volatile private var look = 0
    private var stillUri: Uri? = null
    private var cameraProblem: Problem? = null
    private var threshold = USUAL_THRESHOLD
    private var dialog: AlertDialog? = null

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        setContentView(R.layout.activity_main)
        drawEdgeToEdge(part(R.id.root))
        preferences = Preferences(this)
        catalogue = Catalogue(this, preferences)
        picker = ModelPicker(this, catalogue)
        session = lastNonConfigurationInstance as? Session ?: Session(applicationContext)
        stage = part(R.id.stage)
        live = LiveView(
            this,
            part(R.id.viewfinder),
            session::isIdle,
            onFrame = { frame, turn -> session.offer(frame, turn, look) },
            onProblem = ::failCamera,
        )
        panel = AnswerPanel(part(R.id.answers))
        listen()
        restore(savedInstanceState)
        session.lowestScore = threshold / PERCENT
        session.listener = ::show
        if (session.state is Session.State.None) openFirst()
        show()
    }

    override fun onStart() {
        super.onStart()
        if (source == Source.CAMERA) {
            startCamera()
            show()
        }
    }

    override fun onStop() {
        stopCamera()
        super.onStop()
    }

    override fun onDestroy() {
        dialog?.dismiss()
        if (isChangingConfigurations) session.listener = null else session.close()
        super.onDestroy()
    }

    override fun onRetainNonConfigurationInstance(): Any = session

    override fun onSaveInstanceState(state: Bundle) {
        super.onSaveInstanceState(state)
        state.putString(KEPT_SOURCE, source.name)
        state.putParcelable(KEPT_PICTURE, stillUri)
        state.putInt(KEPT_THRESHOLD, threshold)
        state.putInt(KEPT_LOOK, look)
    }

    private fun restore(state: Bundle?) {
        if (state == null) return
        source = Source.valueOf(state.getString(KEPT_SOURCE) ?: Source.NOTHING.name)
        @Suppress("DEPRECATION") // the other form is of Android 13
        stillUri = state.getParcelable(KEPT_PICTURE)
        threshold = state.getInt(KEPT_THRESHOLD, USUAL_THRESHOLD)
        look = state.getInt(KEPT_LOOK)
        val uri = stillUri
        if (source == Source.STILL && session.still == null && uri != null) readPicture(uri)
    }

    private fun listen() {
        part<View>(R.id.choose_model).setOnClickListener { chooseModel() }
        part<View>(R.id.about).setOnClickListener { tellAboutModel() }
        part<View>(R.id.settings).setOnClickListener { chooseSetup() }
        part<View>(R.id.benchmark).setOnClickListener {
            startActivity(Intent(this, BenchmarkActivity::class.java))
        }
        part<View>(R.id.camera).setOnClickListener { toggleCamera() }
        part<View>(R.id.picture).setOnClickListener { choosePicture() }
        part<SeekBar>(R.id.threshold).setOnSeekBarChangeListener(
            object : SeekBar.OnSeekBarChangeListener {
                override fun onProgressChanged(bar: SeekBar, value: Int, byUser: Boolean) {
                    if (!byUser) return
                    threshold = value
                    session.lowestScore = value / PERCENT
                    session.redraw()
                    show()
                }

                override fun onStartTrackingTouch(bar: SeekBar) = Unit

                override fun onStopTrackingTouch(bar: SeekBar) = Unit
            },
        )
    }

    // Models

    /** The model of last time, or the first one there is. */
    private fun openFirst() {
        val files = catalogue.files()
        val file = files.firstOrNull { it.key == preferences.model } ?: files.firstOrNull()
        file?.let(::open)
    }

    private fun open(file: ModelFile) {
        preferences.model = file.key
        session.open(file, preferences.setup)
    }

    private fun chooseModel() {
        dialog = picker.choose(::open) {
            val intent = Intent(Intent.ACTION_OPEN_DOCUMENT)
                .addCategory(Intent.CATEGORY_OPENABLE)
                .setType("*/*") // no system knows .tflite
            start(intent, ASK_MODEL)
        }
    }

    private fun tellAboutModel() {
        val ready = session.state as? Session.State.Ready ?: return chooseModel()
        dialog = picker.about(ready) {
            catalogue.remove(ready.file as ModelFile.Opened)
            openFirst()
        }
    }

    private fun chooseSetup() {
        val choices = layoutInflater.inflate(R.layout.settings, null)
        RuntimeChoice(choices, preferences) { setup ->
            session.state.file?.let { session.open(it, setup) }
        }
        dialog = AlertDialog.Builder(this)
            .setTitle(R.string.settings)
            .setView(choices)
            .setPositiveButton(R.string.close, null)
            .show()
    }

    // Still pictures

    private fun choosePicture() {
        val picked = if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.TIRAMISU) {
            Intent(MediaStore.ACTION_PICK_IMAGES).setType(PICTURES) // no videos
        } else {
            documents()
        }
        // A phone without the photo picker has documents all the same.
        start(picked, ASK_PICTURE, documents())
    }

    private fun documents() = Intent(Intent.ACTION_OPEN_DOCUMENT)
        .addCategory(Intent.CATEGORY_OPENABLE)
        .setType(PICTURES)

    private fun start(intent: Intent, code: Int, otherwise: Intent? = null) {
        try {
            startActivityForResult(intent, code)
        } catch (_: ActivityNotFoundException) {
            if (otherwise != null) start(otherwise, code) else tell(Problem.Plain(R.string.problem_no_chooser))
        }
    }

    override fun onActivityResult(code: Int, result: Int, data: Intent?) {
        super.onActivityResult(code, result, data)
        val uri = data?.data
        if (result != RESULT_OK || uri == null) return
        when (code) {
            ASK_PICTURE -> readPicture(uri)
            ASK_MODEL -> openOwn(ModelFile.Opened(uri))
        }
    }

    /** Only files that are models stay in the list. */
    private fun openOwn(file: ModelFile.Opened) {
        thread(name = "opened") {
            val entry = catalogue.entry(file)
            runOnUiThread {
                when {
                    isDestroyed -> Unit
                    entry.problem != null -> tell(entry.problem)
                    else -> {
                        catalogue.add(file)
                        open(file)
                    }
                }
            }
        }
    }

    private fun readPicture(uri: Uri) {
        stopCamera()
        source = Source.STILL
        stillUri = uri
        session.still = null
        session.forgetAnswer()
        val mine = ++look
        show()
        thread(name = "picture") {
            val read: Any = guarded<Any>({ it }) { still(uri) }
            runOnUiThread {
                if (mine != look || isDestroyed) return@runOnUiThread
                if (read is Session.Still) {
                    session.still = read
                } else {
                    source = Source.NOTHING
                    tell(read as Problem)
                }
                show()
            }
        }
    }

    private fun still(uri: Uri): Any {
        val picture = Pictures.read(contentResolver, uri)
            ?: return Problem.Plain(R.string.problem_picture)
        return Session.Still(picture, Pictures.bitmap(picture))
    }

    // Camera

    private fun toggleCamera() {
        if (source == Source.CAMERA && cameraProblem == null) {
            stopCamera()
            source = Source.NOTHING
            look++
            session.forgetAnswer()
            show()
        } else if (mayFilm()) {
            film()
        } else {
            requestPermissions(arrayOf(Manifest.permission.CAMERA), ASK_CAMERA)
        }
    }

    private fun mayFilm() =
        checkSelfPermission(Manifest.permission.CAMERA) == PackageManager.PERMISSION_GRANTED

    override fun onRequestPermissionsResult(
        code: Int,
        permissions: Array<out String>,
        results: IntArray,
    ) {
        super.onRequestPermissionsResult(code, permissions, results)
        if (code != ASK_CAMERA || results.isEmpty()) return // empty: broken off, by a rotation too
        film()
    }

    private fun film() {
        source = Source.CAMERA
        look++
        session.still = null
        session.forgetAnswer()
        startCamera()
        show()
    }

    private fun startCamera() {
        cameraProblem = null
        live.stop()
        if (mayFilm()) {
            window.addFlags(WindowManager.LayoutParams.FLAG_KEEP_SCREEN_ON)
            live.start()
        } else {
            cameraProblem = Problem.Plain(R.string.problem_camera_denied)
        }
    }

    private fun stopCamera() {
        live.stop()
        cameraProblem = null
        window.clearFlags(WindowManager.LayoutParams.FLAG_KEEP_SCREEN_ON)
    }

    private fun failCamera(problem: Problem) {
        stopCamera()
        cameraProblem = problem
        show()
    }

    // What is shown

    private fun show() {
        val filming = source == Source.CAMERA && cameraProblem == null
        val still = session.still
        if (still != null && session.answered?.source != look && session.isIdle()) {
            session.ask(still.picture, look)
        }
        showModel()
        showMessage()
        val button = part<Button>(R.id.camera)
        button.setText(if (filming) R.string.stop else R.string.camera)
        button.setCompoundDrawablesRelativeWithIntrinsicBounds(
            if (filming) R.drawable.ic_stop else R.drawable.ic_camera, 0, 0, 0,
        )
        part<View>(R.id.viewfinder).visibility = if (filming) View.VISIBLE else View.GONE
        stage.bitmap = still?.bitmap
        stage.mirrored = filming && live.mirrored
        showAnswer()
    }

    private fun showModel() {
        val state = session.state
        part<Button>(R.id.choose_model).text = when (state) {
            is Session.State.Ready -> Catalogue.titleOf(state.description)
            else -> state.file?.name(this) ?: getString(R.string.choose_model)
        }
        part<View>(R.id.about).isEnabled = state is Session.State.Ready
        part<View>(R.id.about).alpha = if (state is Session.State.Ready) 1f else FAINT
    }

    /** The most urgent of what there is to tell, and what can be done about it. */
    private fun showMessage() {
        val state = session.state
        val denied = source == Source.CAMERA && !mayFilm()
        val text = when {
            state is Session.State.Failed -> state.problem.text(resources)
            cameraProblem != null -> cameraProblem?.text(resources)
            state is Session.State.None -> getString(R.string.no_models)
            state is Session.State.Loading -> getString(R.string.loading)
            source == Source.NOTHING -> getString(R.string.hint)
            source == Source.STILL && session.still == null -> getString(R.string.working)
            else -> null
        }
        part<View>(R.id.message).visibility = if (text == null) View.GONE else View.VISIBLE
        val message = part<TextView>(R.id.message_text)
        if (message.text.toString() != text.orEmpty()) message.text = text
        when {
            state is Session.State.Failed || state is Session.State.None ->
                offer(R.string.choose_model to ::chooseModel)
            denied -> offer(
                R.string.choose_picture to ::choosePicture,
                R.string.open_settings to ::openSettings,
            )
            cameraProblem != null -> offer(R.string.choose_picture to ::choosePicture)
            else -> offer()
        }
    }

    private fun offer(vararg actions: Pair<Int, () -> Unit>) {
        for ((at, id) in listOf(R.id.message_action, R.id.message_second).withIndex()) {
            val button = part<Button>(id)
            val action = actions.getOrNull(at)
            button.visibility = if (action == null) View.GONE else View.VISIBLE
            if (action != null) button.setText(action.first)
            button.setOnClickListener { action?.second?.invoke() }
        }
    }

    private fun openSettings() {
        val page = Uri.fromParts("package", packageName, null)
        start(Intent(Settings.ACTION_APPLICATION_DETAILS_SETTINGS, page), ASK_NOTHING)
    }

    private fun showAnswer() {
        val description = session.description
        val answered = session.answered?.takeIf { it.source == look }
        val detector = description?.task == Task.DETECTION
        part<View>(R.id.threshold_row).visibility = if (detector) View.VISIBLE else View.GONE
        val share = threshold / PERCENT
        part<SeekBar>(R.id.threshold).progress = threshold
        part<TextView>(R.id.threshold_text).text =
            getString(R.string.lowest_score_value, Numbers.percent(share.toDouble()))
        if (description == null || answered == null || source == Source.NOTHING) {
            stage.clear()
            panel.clear()
            showStatus(null)
            stage.contentDescription = if (session.still == null) null else getString(R.string.picture_alone)
            return
        }
        val shown = AnswerRows.of(this, description, answered, share)
        stage.show(description, answered, share)
        panel.show(shown)
        stage.contentDescription = getString(
            R.string.picture_answered,
            shown.joinToString { getString(R.string.answer_part, it.name, it.value) }
                .ifEmpty { getString(R.string.nothing) },
        )
        showStatus(
            getString(
                R.string.times,
                Numbers.milliseconds(answered.networkMilliseconds),
                Numbers.milliseconds(answered.allMilliseconds),
                Runtimes.name(resources, preferences.setup),
            ),
        )
    }

    /** What is said of an answer, and what came of the model's self-test. */
    private fun showStatus(times: String?) {
        val selfTest = (session.state as? Session.State.Ready)?.selfTest
        val status = part<TextView>(R.id.status)
        val texts = listOfNotNull(times, selfTest?.let { SelfTests.short(resources, it) })
        status.text = texts.joinToString(" · ").ifEmpty { null }
        status.setTextColor(getColor(if (selfTest?.verified == false) R.color.warning else R.color.muted))
    }

    private fun tell(problem: Problem) {
        if (isDestroyed) return
        dialog = AlertDialog.Builder(this)
            .setMessage(problem.text(resources))
            .setPositiveButton(R.string.close, null)
            .show()
    }

    private companion object {
        const val PICTURES = "image/*"
        const val ASK_NOTHING = 0
        const val ASK_PICTURE = 1
        const val ASK_MODEL = 2
        const val ASK_CAMERA = 3
        const val KEPT_SOURCE = "source"
        const val KEPT_PICTURE = "picture"
        const val KEPT_THRESHOLD = "threshold"
        const val KEPT_LOOK = "look"
        const val USUAL_THRESHOLD = 30
        const val PERCENT = 100f
        const val FAINT = 0.4f
    }
}
